"""From what became of a job to what its row will say."""

from datetime import UTC, datetime
from typing import Any

import psycopg
import structlog
from pydantic import ValidationError

from shared.contracts.common import Contract
from shared.errors import (
    DeadlinePassed,
    DependencyUnavailable,
    ErrorCode,
    JobCanceled,
    JobError,
    JobStopped,
    LeaseLost,
    PermanentJobError,
    PostponedJobError,
    RetryableJobError,
    WorkerDraining,
)
from shared.jobs.lifecycle import Outcome, Verdict
from shared.storage import StorageError
from workers.context import JobHandle, Result
from workers.retry import backoff_seconds
from workers.services import Outputs

log = structlog.get_logger(__name__)

INTERNAL_MESSAGE = (
    "Darkroom itself went wrong on this job; nothing is the matter with your request. "
    "The operator finds the trace in the worker's log under the job's id."
)

AWAY_MESSAGE = "A part of Darkroom that this job needs is away. The job is tried again, as soon as it may work."
POSTPONE_CAP_SECONDS = 30.0
POSTPONE_LIMIT_SECONDS = 86_400.0
"""A job this old is not put off again: what it waits for is not coming back by itself."""


class Outcomes:
    """Decides between success, failure, another try and handing back. Times in seconds."""

    def __init__(self, outputs: Outputs, *, retry_base: float, retry_cap: float) -> None:
        self._outputs = outputs
        self._retry_base = retry_base
        self._retry_cap = retry_cap

    def of(self, handle: JobHandle, result: Result) -> Outcome:
        """What to write for a job. An output that cannot be stored ends as its own job's error."""
        try:
            return self._of(handle, result)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this job's alone
            return self._of(handle, result_of(error, handle))

    def suspect(self, handle: JobHandle) -> Outcome:
        """One of several jobs whose handler does not listen, perhaps not the one at fault: back to its queue, to run
        alone from now on as after a crash.
        """
        return Outcome(handle.id, handle.attempt, Verdict.HANDED_BACK, crash=True)

    def _of(self, handle: JobHandle, result: Result) -> Outcome:
        report = handle.take_report()
        progress = None if report.fraction is None else (report.fraction, report.message)
        common: dict[str, Any] = {"log": report.log, "progress": progress}
        match result:
            case JobStopped():
                return self._stopped(handle, result, common)
            case JobError():
                return self._failed(handle, result, common)
            case Contract():
                plain, key = self._outputs.rest(handle.job, result)
                return Outcome(handle.id, handle.attempt, Verdict.SUCCEEDED, output=plain, output_key=key, **common)
            case _:
                raise TypeError(f"a handler answered {type(result).__name__}")

    def _stopped(self, handle: JobHandle, stop: JobStopped, common: dict[str, Any]) -> Outcome:
        job_id, attempt = handle.id, handle.attempt
        match stop:
            case LeaseLost():  # stale as a rule; but when nobody has taken the job meanwhile, it need not wait
                log.warning("lease_lost", job_id=str(job_id), attempt=attempt)
                return Outcome(job_id, attempt, Verdict.HANDED_BACK, **common)
            case JobCanceled():
                error = _error(ErrorCode.CANCELED, "The job was canceled.", attempt, retryable=True)
                return Outcome(job_id, attempt, Verdict.CANCELED, error=error, **common)
            case DeadlinePassed():
                allowed = f"{handle.job.seconds_left:g} s"
                message = f"The job ran for more than its {allowed}. Raise timeout_seconds, or give it less to do."
                error = _error(ErrorCode.TIMED_OUT, message, attempt, retryable=True)
                return Outcome(job_id, attempt, Verdict.FAILED, error=error, **common)
            case _:
                return Outcome(job_id, attempt, Verdict.HANDED_BACK, **common)

    def _failed(self, handle: JobHandle, failure: JobError, common: dict[str, Any]) -> Outcome:
        error = _error(failure.code, failure.message, handle.attempt, retryable=failure.retryable)
        age = (datetime.now(UTC) - handle.job.created_at).total_seconds()
        if isinstance(failure, PostponedJobError) and age < POSTPONE_LIMIT_SECONDS:
            later = backoff_seconds(handle.attempt - handle.job.failures, base=1.0, cap=POSTPONE_CAP_SECONDS)
            return Outcome(handle.id, handle.attempt, Verdict.POSTPONED, error=error, delay_seconds=later, **common)
        failures = handle.job.failures + 1
        if not failure.retryable or failures >= handle.job.max_attempts:
            return Outcome(handle.id, handle.attempt, Verdict.FAILED, error=error, **common)
        delay = failure.retry_in if isinstance(failure, RetryableJobError) else None
        if delay is None:
            delay = backoff_seconds(failures, base=self._retry_base, cap=self._retry_cap)
        return Outcome(handle.id, handle.attempt, Verdict.RETRY, error=error, delay_seconds=delay, **common)


def stop_or(result: Result, handle: JobHandle) -> Result:
    """A handler that noticed a stop may answer an error for that job; why the job was stopped is what counts."""
    if isinstance(result, JobError | JobStopped) and (reason := handle.stop_reason):
        return reason()
    return result


def result_of(error: Exception, handle: JobHandle) -> JobError | JobStopped:
    """What an exception out of a handler means for the one job it was running."""
    if isinstance(error, JobError | JobStopped):
        return error
    if isinstance(error, DependencyUnavailable | StorageError | psycopg.OperationalError | psycopg.InterfaceError):
        log.warning("dependency_away", job_id=str(handle.id), error=type(error).__name__, detail=str(error).strip())
        return PostponedJobError(ErrorCode.INTERNAL, AWAY_MESSAGE)
    log.exception("handler_failed", job_id=str(handle.id), kind=handle.job.kind)
    return RetryableJobError(ErrorCode.INTERNAL, INTERNAL_MESSAGE)


def unusable(error: ValidationError) -> PermanentJobError:
    """A stored input that its kind's contract does not take (any more)."""
    fault = error.errors()[0]
    where = ".".join(str(part) for part in fault["loc"])
    message = f"input.{where}: {fault['msg']}. Submit the job again in the form that this version takes."
    return PermanentJobError(ErrorCode.INVALID_INPUT, message)


def stopped_as(handle: JobHandle) -> JobStopped:
    """The end of a job whose handler does not listen: as it was told, or handed back when it was told nothing."""
    return (handle.stop_reason or WorkerDraining)()


def _error(code: ErrorCode, message: str, attempt: int, *, retryable: bool) -> dict[str, Any]:
    return {"code": code.value, "message": message, "attempt": attempt, "retryable": retryable}
