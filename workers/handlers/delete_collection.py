"""`delete_collection`: removes a collection page by page. An attempt that dies leaves less to the next one."""

from shared.contracts.delete_collection import DeleteCollectionInput, DeleteCollectionOutput
from shared.errors import JobError, JobStopped
from shared.faults import fault_point
from workers.context import JobContext, JobHandle
from workers.services import Services


def handle(
    inputs: list[DeleteCollectionInput], context: JobContext
) -> list[DeleteCollectionOutput | JobError | JobStopped]:
    """Each job by itself: they never share a batch."""
    return [_remove(input, job, context.services) for input, job in zip(inputs, context.jobs, strict=True)]


def _remove(input: DeleteCollectionInput, job: JobHandle, services: Services) -> DeleteCollectionOutput:
    """The vectors, then the notes of files, and the row as the last thing: it leads a later attempt to the rest.

    Raises:
        JobStopped: between two pages.
    """
    collections, vectors = services.collections, services.vectors
    row = collections.deleted(input.collection_id)
    if row is None:
        return DeleteCollectionOutput(deleted=0)
    total, removed = vectors.count(row.ref), 0
    fault_point("worker.before_effect")
    for count in vectors.drop_pages(row.ref):
        removed += count
        job.progress(removed / max(total, removed, 1), f"{removed} of {max(total, removed)} items")
        fault_point("worker.after_effect")
        job.raise_if_stopped()
    while collections.forget_files(row.id):
        job.raise_if_stopped()
    collections.erase(row.id)
    return DeleteCollectionOutput(deleted=total)
