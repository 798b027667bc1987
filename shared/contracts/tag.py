"""`tag`: which of some labels pictures show, for pictures of a request or all those of a directory."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator, model_validator

from shared.contracts.common import (
    BULK_ENTRIES,
    Alias,
    Contract,
    EntryError,
    JobKind,
    Picture,
    PictureFields,
)
from shared.contracts.directories import DEFAULT_EXTENSIONS, DirectoryName, Extensions
from shared.contracts.labels import (
    DEFAULT_TEMPLATES,
    MAX_LABELS,
    Labels,
    LabelSetName,
    Template,
    Templates,
    check_prompts,
)
from shared.roots import MAX_PATH_CHARACTERS

MAX_IMAGES = 256
MAX_LISTED_FAILURES = 1_000
DEFAULT_TOP_K = 4
DEFAULT_LABELS = (
    "cat", "dog", "car", "landscape", "party", "food", "beach", "city", "children", "sport", "Victory Day", "veterans",
    "celebration", "military",
)  # fmt: skip


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class TagInput(Contract):
    images: Annotated[list[Picture], Field(min_length=1, max_length=MAX_IMAGES)] | None = None
    directory: DirectoryName | None = None
    """A named root, then folders."""
    labels: Labels = list(DEFAULT_LABELS)
    label_set: LabelSetName | None = None
    """Instead of `labels`: those of a stored set, with its templates. They take its place when the job is accepted."""
    template: Annotated[Templates, BeforeValidator(_as_list, json_schema_input_type=Template | Templates)] = list(
        DEFAULT_TEMPLATES
    )
    top_k: Annotated[int, Field(ge=1, le=MAX_LABELS)] | None = None
    """How many of the best tags each picture gets; by default 4, or as many as there are labels."""
    min_score: Annotated[float, Field(ge=0, le=1)] = 0.0
    multi_label: bool = False
    """Judge each label by itself, instead of having all share 1."""
    save: bool = False
    """Write the tags of `images` into the table; those of a directory always are."""
    recursive: bool = True
    extensions: Extensions = list(DEFAULT_EXTENSIONS)
    model: Alias | None = None

    @field_validator("template")
    @classmethod
    def _not_too_many_prompts(cls, value: list[str], info: ValidationInfo) -> list[str]:
        check_prompts(len(info.data.get("labels", ())), len(value))
        return value

    @field_validator("top_k")
    @classmethod
    def _within_the_labels(cls, value: int | None, info: ValidationInfo) -> int | None:
        labels = info.data.get("labels")
        if value is not None and labels and info.data.get("label_set") is None and value > len(labels):
            raise ValueError(f"is more than the {len(labels)} labels; ask for {len(labels)} at most")
        return value

    @model_validator(mode="after")
    def _pictures_from_one_place(self) -> "TagInput":
        if (self.images is None) == (self.directory is None):
            raise ValueError("give either images or directory")
        return self

    @model_validator(mode="after")
    def _labels_from_one_place(self) -> "TagInput":
        if self.label_set is not None and "labels" in self.model_fields_set:
            raise ValueError("give either labels or label_set")
        return self

    @model_validator(mode="after")
    def _urls_can_be_kept(self) -> "TagInput":
        for index, image in enumerate(self.images or ()):
            if self.save and len(image.url or "") > MAX_PATH_CHARACTERS:
                raise ValueError(f"images.{index}.url is too long to be saved by: {MAX_PATH_CHARACTERS:,} characters")
        return self

    @property
    def best(self) -> int:
        """`top_k` as it is meant."""
        return min(DEFAULT_TOP_K, len(self.labels)) if self.top_k is None else self.top_k


class Tag(Contract):
    tag: str
    score: float
    """0 to 1."""


class TaggedPicture(Contract):
    source: str
    """The URL, the file's id, or `root/folders/file.jpg`."""
    tags: list[Tag]
    """Best first; equal scores in the order of the labels."""
    taken_at: datetime | None = None
    """EXIF `DateTimeOriginal`; without an offset it is the camera's own clock."""
    error: EntryError | None = None


class TagOutput(Contract):
    images: list[TaggedPicture]
    """In the order given; of a directory only files that failed, the first 1,000 of them."""
    directory: str | None = None
    files: int
    tagged: int
    unchanged: int
    """Files whose tags stand: they were tagged in the same way and have not changed, or by a job submitted later."""
    failed: int
    message: str
    model: str


def _pictures(input: TagInput) -> list[tuple[str, PictureFields]]:
    return [(f"images.{index}", picture) for index, picture in enumerate(input.images or ())]


def _queue(input: TagInput) -> Literal["tag", "clip_batch"]:
    return "clip_batch" if input.images is None or len(input.images) > BULK_ENTRIES else "tag"


TAG = JobKind(
    name="tag",
    summary="Tag pictures, or a directory of them, with labels",
    input=TagInput,
    output=TagOutput,
    queue_for=_queue,
    queues=("tag", "clip_batch"),
    batch_key=lambda input: None if input.images is None else f"tag:{input.model}",
    max_batch=16,
    default_timeout=3_600,
    max_timeout=86_400,
    uses_model=True,
    reads_text=True,
    pictures=_pictures,
    example={"images": ["https://example.com/cat.jpg"], "labels": ["cat", "dog", "car"], "top_k": 2},
)
