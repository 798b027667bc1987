"""What every kind's contract is built from: the strict base model, pictures, entries' errors, the kind itself."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, Generic, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, StringConstraints, model_validator

from shared.errors import ErrorCode

MAX_TEXT_CHARACTERS = 10_000
BULK_ENTRIES = 64
"""Above this many pictures or texts a job is bulk work: it goes to `clip_batch`, out of the way of small ones."""


class Contract(BaseModel):
    """Base of all that crosses the wire: unknown fields and wrong types are refused, never guessed at."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, use_enum_values=True)


Alias = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
"""A model's name in `models.toml`."""
CollectionName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
ItemId = Annotated[str, StringConstraints(min_length=1, max_length=512)]
Prompt = Annotated[str, StringConstraints(min_length=1, max_length=MAX_TEXT_CHARACTERS)]


def _from_bare_string(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if value.startswith("data:"):
        return {"base64": value}
    if value.startswith(("http://", "https://")):
        return {"url": value}
    raise ValueError(
        "a picture is an http(s) URL, a data: URI, or an object with one of url, base64, file; "
        "plain base64 goes into {'base64': '…'}"
    )


class PictureFields(Contract):
    """A picture by exactly one of: `url`, `base64` (or a `data:` URI), `file` (the id of a stored file)."""

    url: Annotated[str, StringConstraints(max_length=4096, pattern=r"^https?://")] | None = None
    base64: Annotated[str, StringConstraints(min_length=1)] | None = None
    file: Annotated[str, StringConstraints(pattern=r"^file_[a-z0-9]{26}$")] | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> "PictureFields":
        if sum(value is not None for value in (self.url, self.base64, self.file)) != 1:
            raise ValueError("give exactly one of url, base64, file")
        return self

    def __str__(self) -> str:
        """A short name for messages: never the bytes."""
        return self.url or self.file or "inline picture"


Picture = Annotated[
    PictureFields,
    BeforeValidator(_from_bare_string, json_schema_input_type=PictureFields | str),
]


class EntryError(Contract):
    """Why one entry of a job failed while the others went on. Codes are those of job errors."""

    code: ErrorCode
    message: str


I = TypeVar("I", bound=Contract)  # noqa: E741 - the input of a kind
O = TypeVar("O", bound=Contract)  # noqa: E741 - the output of a kind


@dataclass(frozen=True, eq=False)
class JobKind(Generic[I, O]):
    """The wire contract and the limits of one kind of job, shared by the API, the workers and the docs."""

    name: str
    summary: str
    input: type[I]
    output: type[O]
    queue_for: Callable[[I], str]
    """Which queue a job with this input goes to."""
    queues: tuple[str, ...]
    """Every queue that `queue_for` may answer."""
    batch_key: Callable[[I], str | None] = lambda _: None
    """Jobs of one queue with equal keys may share a forward pass; None: always alone."""
    max_batch: int = 1
    """Jobs that one worker claims at once."""
    default_timeout: float = 600.0
    """Seconds that one attempt may run when the request does not say."""
    max_timeout: float = 3600.0
    uses_model: bool = False
    """Whether the input has a `model` that falls back to the registry's default for the kind."""
    reads_text: bool = False
    """Whether that model has to read texts as well as pictures."""
    pictures: Callable[[I], list[tuple[str, PictureFields]]] = lambda _: []
    """Every picture of an input with its path, for the API to check and store."""
    example: dict[str, Any] = field(default_factory=dict)
    """An input for the OpenAPI document."""
    internal: bool = False
    """A request of its own submits it: it is followed as any other, but in neither `POST /v1/<name>` nor a batch."""
    cancelable: bool = True
    """Whether its owner may cancel it; False where that would leave something half done."""
