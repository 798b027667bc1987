"""`embed`: pictures and texts in, unit vectors out."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from shared.contracts.common import (
    BULK_ENTRIES,
    Alias,
    Contract,
    EntryError,
    JobKind,
    Picture,
    PictureFields,
    Prompt,
)

MAX_ENTRIES = 256


class EmbedInput(Contract):
    images: Annotated[list[Picture], Field(max_length=MAX_ENTRIES)] = []
    texts: Annotated[list[Prompt], Field(max_length=MAX_ENTRIES)] = []
    model: Alias | None = None
    encoding_format: Literal["float", "base64"] = "float"
    """`base64` is little-endian float32."""

    @model_validator(mode="after")
    def _between_1_and_256(self) -> "EmbedInput":
        if not 1 <= self.entries <= MAX_ENTRIES:
            raise ValueError(f"give 1 to {MAX_ENTRIES} images and texts in all")
        return self

    @property
    def entries(self) -> int:
        return len(self.images) + len(self.texts)


class Embedding(Contract):
    index: int
    """Position within its own list: `images[index]` or `texts[index]`."""
    kind: Literal["image", "text"]
    vector: list[float] | str | None
    error: EntryError | None = None


class EmbedOutput(Contract):
    embeddings: list[Embedding]
    """Images first, then texts, each in the order given."""
    model: str
    dimension: int


def _pictures(input: EmbedInput) -> list[tuple[str, PictureFields]]:
    return [(f"images.{index}", picture) for index, picture in enumerate(input.images)]


EMBED = JobKind(
    name="embed",
    summary="Embed pictures and texts as unit vectors",
    input=EmbedInput,
    output=EmbedOutput,
    queue_for=lambda input: "clip_batch" if input.entries > BULK_ENTRIES else "embed",
    queues=("embed", "clip_batch"),
    batch_key=lambda input: f"embed:{input.model}",
    max_batch=32,
    default_timeout=300,
    uses_model=True,
    pictures=_pictures,
    example={"texts": ["a red apple"], "images": ["https://example.com/apple.jpg"]},
)
