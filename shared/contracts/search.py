"""`search`: the items of a collection nearest to texts, pictures, items and vectors, weighed against each other."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, JsonValue, ValidationInfo, field_validator, model_validator

from shared.contracts.common import (
    Alias,
    CollectionName,
    Contract,
    ItemId,
    JobKind,
    Picture,
    PictureFields,
    Prompt,
)
from shared.vectors.words import words

MAX_TOP_K = 1_000
MAX_OFFSET = 10_000
MAX_PARTS = 32
MAX_WEIGHT = 100
MAX_PAYLOAD_FIELDS = 64
MAX_FIELD_LENGTH = 512
QUERIES = ("text", "image", "item", "vector")

QueryVector = Annotated[list[float], Field(min_length=1, max_length=16_384)]
"""Of the collection's dimension, of any length but zero."""
Weight = Annotated[float, Field(ge=-MAX_WEIGHT, le=MAX_WEIGHT, allow_inf_nan=False)]


class QueryPart(Contract):
    """One thing to be near to, or with a negative weight: to be far from."""

    text: Prompt | None = None
    image: Picture | None = None
    item: ItemId | None = None
    vector: QueryVector | None = None
    weight: Weight = 1.0

    @model_validator(mode="after")
    def _exactly_one(self) -> "QueryPart":
        if sum(getattr(self, name) is not None for name in QUERIES) != 1:
            raise ValueError("give exactly one of text, image, item, vector")
        return self


def _payload_fields(value: Any) -> Any:
    if isinstance(value, bool):
        return value
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_PAYLOAD_FIELDS:
        raise ValueError(f"must be true, false, or a list of 1 to {MAX_PAYLOAD_FIELDS} dotted names of payload fields")
    wrong = [index for index, name in enumerate(value) if not _is_path(name)]
    if wrong:
        raise ValueError(f"entry {wrong[0]} must be a dotted name of a payload field, such as size.eu")
    return value


def _is_path(name: Any) -> bool:
    return isinstance(name, str) and len(name) <= MAX_FIELD_LENGTH and all(name.split("."))


PayloadFields = Annotated[bool | list[str], BeforeValidator(_payload_fields, json_schema_input_type=bool | list[str])]
"""The whole payload, none of it, or these fields of it."""


class SearchInput(Contract):
    collection: CollectionName
    text: Prompt | None = None
    image: Picture | None = None
    item: ItemId | None = None
    """Recommend: items like this one; it is left out of the results itself."""
    vector: QueryVector | None = None
    query: Annotated[list[QueryPart], Field(min_length=1, max_length=MAX_PARTS)] | None = None
    """Weighted parts. They mix with the four above, which weigh 1 each."""
    text_match: Prompt | None = None
    """Words to look for in the items' texts; that ranking is fused with the one by vectors."""
    filter: dict[str, JsonValue] | None = None
    top_k: Annotated[int, Field(ge=1, le=MAX_TOP_K)] = 10
    offset: Annotated[int, Field(ge=0, le=MAX_OFFSET)] = 0
    min_score: Annotated[float, Field(ge=-1, le=1)] | None = None
    """Least cosine, whatever `score` is."""
    calibrated: bool = False
    """Give each result a `relevance`."""
    include_vectors: bool = False
    include_payload: PayloadFields = True
    model: Alias | None = None
    """The collection's own; naming another one is a `model_mismatch`."""

    @field_validator("query")
    @classmethod
    def _something_to_be_near_to(cls, query: list[QueryPart] | None, info: ValidationInfo) -> list[QueryPart] | None:
        if query is None or _given(info, QUERIES) or any(part.weight > 0 for part in query):
            return query
        if any(part.weight for part in query):
            raise ValueError(
                "only says what to be far from; give at least one part a positive weight, or add a text, image, item "
                "or vector beside it"
            )
        raise ValueError("has no weight but 0; give at least one part a positive weight")

    @field_validator("text_match")
    @classmethod
    def _beside_a_query(cls, text: str | None, info: ValidationInfo) -> str | None:
        if text is None:
            return None
        if not _given(info, (*QUERIES, "query")):
            raise ValueError(
                "refines a search by vectors and cannot stand alone; add a text, image, item, vector or query (the "
                "same words as `text`, for instance)"
            )
        if not words(text):
            raise ValueError("has no word in it; give letters or digits to look for")
        return text

    @model_validator(mode="after")
    def _some_query(self) -> "SearchInput":
        if all(getattr(self, name) is None for name in (*QUERIES, "query")):
            raise ValueError(f"give at least one of {', '.join(QUERIES)}, query")
        return self

    def parts(self) -> list[tuple[str, QueryPart]]:
        """Everything to be near to or far from, each with the path of what it is made of: `text`, `query.0.image`."""
        single = [
            (name, QueryPart.model_construct(**{name: value}))
            for name in QUERIES
            if (value := getattr(self, name)) is not None
        ]
        weighted = [(f"query.{index}.{_kind(part)}", part) for index, part in enumerate(self.query or ())]
        return single + weighted


def _given(info: ValidationInfo, names: tuple[str, ...]) -> bool:
    """Whether one of these fields was given. One that is not valid counts too: it is told of by itself."""
    return any(name not in info.data or info.data[name] is not None for name in names)


def _kind(part: QueryPart) -> str:
    return next(name for name in QUERIES if getattr(part, name) is not None)


def _is_missing(value: Any) -> bool:
    return value is None


class SearchResult(Contract):
    """One item. What was not asked for is not there, rather than null."""

    id: str
    score: float
    """What results are ordered by: the cosine, or the fused score where there is a `text_match`."""
    cosine: float
    """To the query vector, -1 to 1."""
    distance: float
    """From the query vector, by the collection's own measure."""
    relevance: float | None = Field(default=None, exclude_if=_is_missing)
    """0 to 1, against all items of the collection: see docs/search.md."""
    payload: dict[str, Any] | None = Field(default=None, exclude_if=_is_missing)
    text: str | None = Field(default=None, exclude_if=_is_missing)
    """The item's own; with the whole payload only."""
    vector: list[float] | None = Field(default=None, exclude_if=_is_missing)


class SearchOutput(Contract):
    results: list[SearchResult]
    """Best first; equal scores by the better in words where there is a `text_match`, then by id."""


def _pictures(input: SearchInput) -> list[tuple[str, PictureFields]]:
    return [(path, part.image) for path, part in input.parts() if part.image is not None]


SEARCH = JobKind(
    name="search",
    summary="Search a collection by texts, pictures, items and vectors",
    input=SearchInput,
    output=SearchOutput,
    queue_for=lambda _: "search",
    queues=("search",),
    batch_key=lambda _: "search",
    max_batch=32,
    default_timeout=60,
    max_timeout=600,
    pictures=_pictures,
    example={"collection": "shoes", "text": "red running shoe", "top_k": 5, "filter": {"price": {"lt": 50}}},
)
