"""`deduplicate`: groups of exact copies, look-alikes and near vectors in a collection, a directory or a list."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, JsonValue, ValidationInfo, field_validator, model_validator

from shared.contracts.common import (
    BULK_ENTRIES,
    Alias,
    CollectionName,
    Contract,
    JobKind,
    Picture,
    PictureFields,
)
from shared.contracts.directories import DEFAULT_EXTENSIONS, DirectoryName, Extensions
from shared.errors import ErrorCode

Method = Literal["exact", "perceptual", "semantic"]

MAX_IMAGES = 1_000
MAX_LISTED_FAILURES = 1_000
DEFAULT_BITS = 10
"""Of 64: on the shipped catalogue every resized or recompressed copy is within them, and 97 in 100 of those that were
cropped by 5 % (`docs/duplicates.md`)."""
MAX_BITS = 15
"""Beyond, unrelated pictures meet, and finding them is no longer near-linear."""
DEFAULT_COSINE = 0.95
MIN_COSINE = 0.5
NEIGHBOURS = 100
"""Nearest pictures that each one is compared with by its vector."""
SOURCES = ("collection", "images", "directory")


class Thresholds(Contract):
    """How near is near, for each method that can be told."""

    perceptual: Annotated[int, Field(ge=0, le=MAX_BITS)] = DEFAULT_BITS
    """Bits of 64 that the pHash and the dHash of two pictures may each differ by."""
    semantic: Annotated[float, Field(ge=MIN_COSINE, le=1)] = DEFAULT_COSINE
    """The least cosine."""


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Methods = Annotated[
    list[Method],
    Field(min_length=1, max_length=3),
    BeforeValidator(_as_list, json_schema_input_type=Method | list[Method]),
]


class DeduplicateInput(Contract):
    collection: CollectionName | None = None
    images: Annotated[list[Picture], Field(min_length=2, max_length=MAX_IMAGES)] | None = None
    directory: DirectoryName | None = None
    """A named root, then folders."""
    filter: dict[str, JsonValue] | None = None
    """Compares only the items of the collection that match."""
    recursive: bool = True
    extensions: Extensions = list(DEFAULT_EXTENSIONS)
    method: Methods = ["exact", "perceptual"]
    threshold: Thresholds = Thresholds()
    """A number is meant for the one method that takes one."""
    model: Alias | None = None
    """For the semantic method on images and directories; a collection has its own."""

    @field_validator("filter")
    @classmethod
    def _filters_a_collection(cls, value: Any, info: ValidationInfo) -> Any:
        return _belongs(value, info, "collection")

    @field_validator("recursive", "extensions")
    @classmethod
    def _describe_a_directory(cls, value: Any, info: ValidationInfo) -> Any:
        return _belongs(value, info, "directory")

    @field_validator("method")
    @classmethod
    def _each_once(cls, value: list[Method]) -> list[Method]:
        if len(set(value)) < len(value):
            raise ValueError("names a method twice; name each once")
        return value

    @field_validator("threshold", mode="before", json_schema_input_type=float | Thresholds)
    @classmethod
    def _number_for_one_method(cls, value: Any, info: ValidationInfo) -> Any:
        methods = info.data.get("method")
        if methods is None or isinstance(value, bool) or not isinstance(value, int | float):
            return value
        takers = [name for name in methods if name in Thresholds.model_fields]
        if len(takers) != 1:
            among = " and ".join(takers) or "exact copies, which are equal or are not"
            raise ValueError(f"is one number for {among}; give an object such as {{'perceptual': 8}}, or leave it out")
        return {takers[0]: value}

    @field_validator("threshold")
    @classmethod
    def _only_for_methods_in_use(cls, value: Thresholds, info: ValidationInfo) -> Thresholds:
        unused = value.model_fields_set - set(info.data.get("method", Thresholds.model_fields))
        if unused:
            raise ValueError(f"{min(unused)} is not among the methods; add it to `method`, or leave it out here")
        return value

    @field_validator("model")
    @classmethod
    def _embeds_pictures(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and info.data.get("collection") is not None:
            raise ValueError("is that of the collection; leave it out")
        if value is not None and "semantic" not in info.data.get("method", ("semantic",)):
            raise ValueError("is for the semantic method alone; add it to `method`, or leave `model` out")
        return value

    @model_validator(mode="after")
    def _pictures_from_one_place(self) -> "DeduplicateInput":
        if sum(getattr(self, name) is not None for name in SOURCES) != 1:
            raise ValueError("give exactly one of collection, images, directory")
        return self


def _belongs(value: Any, info: ValidationInfo, source: str) -> Any:
    if value is not None and source in info.data and info.data[source] is None:
        raise ValueError(f"goes with a {source}; leave it out")
    return value


class DuplicateMember(Contract):
    id: str
    """An item's id, `images.3`, or `root/folders/file.jpg`."""
    distance: float
    """To the keeper: 0 for exact copies; bits of 64 that differ, in the hash that differs more; 1 - cosine."""
    width: int
    """Pixels, as the file declares them."""
    height: int
    size: int
    """Bytes of the file."""
    taken_at: str | None = None
    """EXIF `DateTimeOriginal`; without an offset it is the camera's own clock."""


class DuplicateGroup(Contract):
    kind: Method
    keeper: str
    """The one to keep: the most pixels, then the most bytes, then the oldest."""
    members: list[DuplicateMember]
    """The keeper first, then by distance."""


class FailedPicture(Contract):
    id: str
    code: ErrorCode
    message: str


class DeduplicateOutput(Contract):
    groups: list[DuplicateGroup]
    """Exact ones, then perceptual, then semantic ones; of a kind the largest first."""
    pictures: int
    """How many were compared."""
    duplicates: int
    """Members of all groups that are no keeper: none is counted twice."""
    without_fingerprint: int
    """Items that were indexed before fingerprints were kept: they were not compared. Index them again."""
    unreadable: int
    failed: list[FailedPicture]
    """Pictures that could not be read, the first 1,000 of them."""
    message: str


def _pictures(input: DeduplicateInput) -> list[tuple[str, PictureFields]]:
    return [(f"images.{index}", picture) for index, picture in enumerate(input.images or ())]


def _queue(input: DeduplicateInput) -> Literal["embed", "clip_batch"]:
    return "clip_batch" if input.images is None or len(input.images) > BULK_ENTRIES else "embed"


DEDUPLICATE = JobKind(
    name="deduplicate",
    summary="Find duplicates in a collection, a directory or a list of pictures",
    input=DeduplicateInput,
    output=DeduplicateOutput,
    queue_for=_queue,
    queues=("embed", "clip_batch"),
    default_timeout=3_600,
    max_timeout=86_400,
    pictures=_pictures,
    example={"collection": "shoes", "method": ["exact", "perceptual"]},
)
