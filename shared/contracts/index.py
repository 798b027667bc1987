"""`index`: items with a picture each into a collection, ready to be searched."""

from typing import Annotated, Literal

from pydantic import Field, JsonValue, StringConstraints, model_validator

from shared.contracts.common import (
    BULK_ENTRIES,
    MAX_TEXT_CHARACTERS,
    Alias,
    CollectionName,
    Contract,
    ItemId,
    JobKind,
    Picture,
    PictureFields,
)
from shared.errors import ErrorCode

MAX_ITEMS = 1_000
MAX_PAYLOAD_BYTES = 16_384


class IndexItem(Contract):
    id: ItemId
    image: Picture
    text: Annotated[str, StringConstraints(max_length=MAX_TEXT_CHARACTERS)] | None = None
    payload: dict[str, JsonValue] = {}


class IndexInput(Contract):
    collection: CollectionName
    items: Annotated[list[IndexItem], Field(min_length=1, max_length=MAX_ITEMS)]
    model: Alias | None = None
    """The collection's own model when absent; for a new collection the default one."""
    on_duplicate: Literal["allow", "flag", "skip"] = "allow"
    """What becomes of exact copies of another item of the collection, or of an earlier one of this job: `flag` indexes
    and lists them, `skip` only lists them."""

    @model_validator(mode="after")
    def _ids_are_unique(self) -> "IndexInput":
        seen: set[str] = set()
        for position, item in enumerate(self.items):
            if item.id in seen:
                raise ValueError(f"items.{position}.id {item.id!r} stands twice; one job indexes an item once")
            seen.add(item.id)
        return self


class FailedItem(Contract):
    id: str
    code: ErrorCode
    message: str


class DuplicateItem(Contract):
    id: str
    of: str
    """The item that has the same picture."""


class IndexOutput(Contract):
    indexed: int
    skipped: int
    """Unchanged since they were last indexed: same picture, text and payload."""
    failed: list[FailedItem]
    duplicates: list[DuplicateItem] = []
    """Exact copies, in the order of the items; always empty when `on_duplicate` is `allow`."""
    duplicates_skipped: int = 0
    """Those that were not indexed since `on_duplicate` is `skip`."""


def _pictures(input: IndexInput) -> list[tuple[str, PictureFields]]:
    return [(f"items.{position}.image", item.image) for position, item in enumerate(input.items)]


INDEX = JobKind(
    name="index",
    summary="Index pictures into a collection",
    input=IndexInput,
    output=IndexOutput,
    queue_for=lambda input: "clip_batch" if len(input.items) > BULK_ENTRIES else "index",
    queues=("index", "clip_batch"),
    batch_key=lambda _: "index",
    max_batch=8,
    default_timeout=900,
    max_timeout=14_400,
    pictures=_pictures,
    example={
        "collection": "shoes",
        "items": [{"id": "sku-1", "image": "https://example.com/1.jpg", "payload": {"price": 40}}],
    },
)
