"""What the handlers of many-entry jobs share: batch sizes, what an item is made from, and what a job is whose every
entry failed.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

import orjson

from shared.errors import JobError, PermanentJobError, RetryableJobError

IMAGE_BATCH = 32
"""Pictures in a forward pass. On a CPU more gains nothing (measured: `make bench`)."""
TEXT_BATCH = 128
_POINTS = 2
"""Moves when points hold more than before: items indexed until then count as changed, and are made anew."""

T = TypeVar("T")


def slices(entries: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(entries), size):
        yield entries[start : start + size]


def content_hash(model: str, picture_hash: str, text: str | None, payload: Mapping[str, Any]) -> str:
    """Of all that a point is made from (SHA-256, hex): when it is the same, so is the point.

    Args:
        picture_hash: `shared.images.hashing.file_hash` of the picture.
    """
    made_from = [_POINTS, model, picture_hash, text, payload]
    return hashlib.sha256(orjson.dumps(made_from, option=orjson.OPT_SORT_KEYS)).hexdigest()


def nothing_worked(errors: Sequence[JobError], total: int | None = None) -> JobError:
    """The error of a job all of whose entries failed: worth a retry as soon as one of them is.

    Args:
        total: how many there were, where `errors` are only the first.
    """
    chosen = next((error for error in errors if error.retryable), errors[0])
    count = len(errors) if total is None else total
    message = chosen.message if count == 1 else f"All {count} entries failed, such as: {chosen.message}"
    if isinstance(chosen, RetryableJobError):
        return RetryableJobError(chosen.code, message, retry_in=chosen.retry_in)
    return PermanentJobError(chosen.code, message)
