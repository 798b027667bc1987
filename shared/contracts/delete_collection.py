"""`delete_collection`: removes what is left of a collection that nobody finds any more. `DELETE` submits it."""

from typing import Annotated
from uuid import UUID

from pydantic import Field

from shared.contracts.common import CollectionName, Contract, JobKind


class DeleteCollectionInput(Contract):
    collection: CollectionName
    """The name that it had; another collection may bear it by now."""
    collection_id: Annotated[UUID, Field(strict=False)]


class DeleteCollectionOutput(Contract):
    deleted: int
    """Items that this attempt found; what one before it removed, which was interrupted, is not counted."""


DELETE_COLLECTION = JobKind(
    name="delete_collection",
    summary="Remove the items of a deleted collection",
    input=DeleteCollectionInput,
    output=DeleteCollectionOutput,
    queue_for=lambda _: "index",
    queues=("index",),
    default_timeout=14_400,
    max_timeout=14_400,
    internal=True,
    cancelable=False,
)
