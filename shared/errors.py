"""The error tree of Darkroom: every class says what happens to the job next.

Only `api/errors.py` turns these into HTTP statuses; only `workers/executor.py` turns them into job states.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class ErrorCode(StrEnum):
    """Stable codes of a failed job (`error.code` on the wire). Clients branch on these."""

    IMAGE_UNREACHABLE = "image_unreachable"
    IMAGE_FORBIDDEN_ADDRESS = "image_forbidden_address"
    IMAGE_TOO_LARGE = "image_too_large"
    IMAGE_UNSUPPORTED = "image_unsupported"
    IMAGE_CORRUPT = "image_corrupt"
    MODEL_UNKNOWN = "model_unknown"
    MODEL_LOAD_FAILED = "model_load_failed"
    MODEL_MISMATCH = "model_mismatch"
    COLLECTION_UNKNOWN = "collection_unknown"
    ITEM_UNKNOWN = "item_unknown"
    INVALID_INPUT = "invalid_input"
    OUT_OF_MEMORY = "out_of_memory"
    TIMED_OUT = "timed_out"
    WORKER_LOST = "worker_lost"
    CANCELED = "canceled"
    INTERNAL = "internal"


class DarkroomError(Exception):
    """Base of everything that Darkroom raises on purpose."""


class JobError(DarkroomError):
    """A job (or one entry of it) went wrong; `message` is for its submitter: whose input, and what to do next."""

    retryable = False

    def __init__(self, code: ErrorCode | str, message: str) -> None:
        super().__init__(message)
        self.code = ErrorCode(code)
        self.message = message


class PermanentJobError(JobError):
    """Trying again cannot help: the job fails now."""


class RetryableJobError(JobError):
    """A later attempt may succeed. `retry_in`: seconds to wait, or None for the usual backoff."""

    retryable = True

    def __init__(self, code: ErrorCode | str, message: str, *, retry_in: float | None = None) -> None:
        super().__init__(code, message)
        self.retry_in = retry_in


class PostponedJobError(JobError):
    """Nothing is wrong with the job: a part of Darkroom that it needs is away. It is tried later, and not counted."""

    retryable = True


class JobStopped(DarkroomError):
    """The handler was told to stop and did. What becomes of the job depends on which of these it was."""


class JobCanceled(JobStopped):
    """The job was asked to stop by its owner (`cancel`, `Cancel-After`): it ends as canceled."""


class DeadlinePassed(JobStopped):
    """The attempt ran for longer than its `timeout_seconds`: it fails as `timed_out`."""


class WorkerDraining(JobStopped):
    """The worker is going away: the job goes back to the queue, and the attempt is not counted as a failure."""


class LeaseLost(JobStopped):
    """This attempt no longer owns the job: stop, and write nothing."""


class ConfigurationError(DarkroomError):
    """A setting is missing or wrong; the message names the variable and the fix."""


@dataclass(frozen=True)
class FieldFault:
    """One fault of a request: where (`path`, e.g. `input.items.3.id`) and what to change."""

    path: str
    message: str


class RequestError(DarkroomError):
    """A request is refused before it became a job. `code` is stable; `faults` name every wrong field at once."""

    code = "invalid_request"

    def __init__(
        self, message: str, *, code: str | None = None, faults: tuple[FieldFault, ...] = (), **extra: Any
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.code
        self.faults = faults
        self.extra = extra


class InvalidInput(RequestError):
    """The request is well-formed, but its content cannot be accepted."""

    code = "invalid_input"


class NotFound(RequestError):
    """There is no such thing for this tenant (another tenant's thing is the same)."""

    code = "not_found"


class Conflict(RequestError):
    """The request contradicts what is already there."""

    code = "conflict"


class TooLarge(RequestError):
    """The request, or a picture in it, is larger than the limit."""

    code = "too_large"


class DependencyUnavailable(DarkroomError):
    """Postgres (or another part that the request cannot do without) is away; try again soon."""
