"""`search`: the items of a collection nearest to a text, a picture, an item or a vector."""

from typing import Annotated, Any

from pydantic import Field, JsonValue, model_validator

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

MAX_TOP_K = 1_000
MAX_OFFSET = 10_000
QUERIES = ("text", "image", "item", "vector")


class SearchInput(Contract):
    collection: CollectionName
    text: Prompt | None = None
    image: Picture | None = None
    item: ItemId | None = None
    """Recommend: items like this one; it is left out of the results itself."""
    vector: Annotated[list[float], Field(min_length=1, max_length=16_384)] | None = None
    filter: dict[str, JsonValue] | None = None
    top_k: Annotated[int, Field(ge=1, le=MAX_TOP_K)] = 10
    offset: Annotated[int, Field(ge=0, le=MAX_OFFSET)] = 0
    min_score: Annotated[float, Field(ge=-1, le=1)] | None = None
    """Least cosine."""
    include_vectors: bool = False
    model: Alias | None = None
    """The collection's own; naming another one is a `model_mismatch`."""

    @model_validator(mode="after")
    def _some_query(self) -> "SearchInput":
        if all(getattr(self, name) is None for name in QUERIES):
            raise ValueError("give at least one of text, image, item, vector")
        return self


class SearchResult(Contract):
    id: str
    score: float
    """Cosine, -1 to 1."""
    payload: dict[str, Any]
    vector: list[float] | None = None


class SearchOutput(Contract):
    results: list[SearchResult]
    """Best first; equal scores by id."""


def _pictures(input: SearchInput) -> list[tuple[str, PictureFields]]:
    return [("image", input.image)] if input.image else []


SEARCH = JobKind(
    name="search",
    summary="Search a collection by text, picture, item or vector",
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
