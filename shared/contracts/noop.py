"""`noop`: does nothing, slowly or badly, for benches and fault tests. Off unless ENABLE_NOOP is set."""

from typing import Annotated, Literal

from pydantic import Field

from shared.contracts.common import Contract, JobKind


class NoopInput(Contract):
    sleep_ms: Annotated[float, Field(ge=0, le=3_600_000)] = 0
    fail: Literal["retryable", "permanent", "bug"] | None = None
    """End in an error: one worth a retry, one that is not, or an exception nobody planned."""
    fail_attempts: Annotated[int, Field(ge=1)] | None = None
    """Fail only the first so many attempts."""
    crash: bool = False
    """Kill the worker process with SIGKILL."""
    crash_attempts: Annotated[int, Field(ge=1)] | None = None
    ignore_stop: bool = False
    """Sleep on through a cancel or a lost lease, as a handler stuck in native code would."""
    steps: Annotated[int, Field(ge=1, le=10_000)] = 1
    """Divide the sleep into so many steps, reporting progress after each."""
    alone: bool = False
    """Never share a batch."""


class NoopOutput(Contract):
    attempt: int
    slept_ms: float


NOOP = JobKind(
    name="noop",
    summary="Do nothing (benches and fault tests)",
    input=NoopInput,
    output=NoopOutput,
    queue_for=lambda _: "noop",
    queues=("noop",),
    batch_key=lambda input: None if input.alone else "noop",
    max_batch=64,
    default_timeout=60,
    max_timeout=3600,
    example={"sleep_ms": 10},
)
