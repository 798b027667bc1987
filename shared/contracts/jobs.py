"""The envelope around every kind's input, and the job object that answers show."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import Field, JsonValue, StringConstraints

from shared.contracts.common import Contract
from shared.errors import ErrorCode

MAX_BATCH_JOBS = 1_000
Priority = Literal["high", "normal", "low"]
PRIORITIES: dict[str, int] = {"high": 0, "normal": 1, "low": 2}
PRIORITY_NAMES = {number: name for name, number in PRIORITIES.items()}
MetadataKey = Annotated[str, StringConstraints(min_length=1, max_length=64)]
MetadataValue = Annotated[str, StringConstraints(max_length=512)]


class JobStatus(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"


TERMINAL = frozenset({JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELED})


class EnvelopeFields(Contract):
    """What a request says besides its input."""

    priority: Priority = "normal"
    metadata: Annotated[dict[MetadataKey, MetadataValue], Field(max_length=16)] = {}
    max_attempts: Annotated[int, Field(ge=1, le=20)] = 3
    timeout_seconds: Annotated[float, Field(gt=0, le=86_400)] | None = None
    """Seconds that one attempt may run; the kind's default when absent."""


class JobErrorView(Contract):
    code: ErrorCode
    message: str
    attempt: int
    retryable: bool


class ProgressView(Contract):
    fraction: float
    message: str | None


class MetricsView(Contract):
    queue_seconds: float | None
    """From acceptance to the start of the last attempt."""
    run_seconds: float | None
    """From the start of the last attempt to the end."""
    cached: bool = False
    """The result was known already: the API itself answered, and no worker ran the job."""


class UrlsView(Contract):
    get: str
    cancel: str
    retry: str


class JobView(Contract):
    """A job as every answer shows it."""

    id: UUID
    kind: str
    status: JobStatus
    priority: Priority
    attempt: int
    max_attempts: int
    input: dict[str, JsonValue]
    output: Any | None
    error: JobErrorView | None
    progress: ProgressView
    queue_position: int | None
    logs: str
    metadata: dict[str, str]
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    expires_at: datetime | None
    metrics: MetricsView
    urls: UrlsView
