"""`reembed`: a collection's vectors made anew by another model. `POST /v1/collections/{name}/reembed` submits it."""

from typing import Annotated
from uuid import UUID

from pydantic import Field

from shared.contracts.common import Alias, CollectionName, Contract, JobKind
from shared.contracts.index import FailedItem

MAX_FAILED = 1_000
"""Items that `failed` lists; `failed_count` counts them all."""


class ReembedInput(Contract):
    collection: CollectionName
    collection_id: Annotated[UUID, Field(strict=False)]
    model: Alias
    drop_failed: bool = False
    """Leave out the items that cannot be embedded anew, rather than fail."""


class ReembedOutput(Contract):
    model: str
    dimension: int
    items: int
    """In the collection once the new vectors had taken the place of the old ones."""
    failed: list[FailedItem]
    """Items that are left out, with `drop_failed`: the first 1,000."""
    failed_count: int


REEMBED = JobKind(
    name="reembed",
    summary="Make a collection's vectors anew with another model",
    input=ReembedInput,
    output=ReembedOutput,
    queue_for=lambda _: "clip_batch",
    queues=("clip_batch",),
    default_timeout=14_400,
    max_timeout=14_400,
    internal=True,
)
