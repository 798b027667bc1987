"""What the handlers of many-entry jobs share: batch sizes, and what a job is whose every entry failed."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

from shared.errors import JobError, PermanentJobError, RetryableJobError

IMAGE_BATCH = 32
"""Pictures in a forward pass. On a CPU more gains nothing (measured: `make bench`)."""
TEXT_BATCH = 128

T = TypeVar("T")


def slices(entries: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(entries), size):
        yield entries[start : start + size]


def nothing_worked(errors: Sequence[JobError]) -> JobError:
    """The error of a job all of whose entries failed: worth a retry as soon as one of them is."""
    chosen = next((error for error in errors if error.retryable), errors[0])
    message = chosen.message if len(errors) == 1 else f"All {len(errors)} entries failed, such as: {chosen.message}"
    if isinstance(chosen, RetryableJobError):
        return RetryableJobError(chosen.code, message, retry_in=chosen.retry_in)
    return PermanentJobError(chosen.code, message)
