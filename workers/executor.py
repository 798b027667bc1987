"""Claim, run, finish: the one place that does it, and the one place that turns any exception into a job's end."""

import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import psycopg
import structlog
from pydantic import ValidationError

from shared.contracts.common import Contract, JobKind
from shared.database.pool import Pool, retry_once
from shared.errors import (
    DeadlinePassed,
    DependencyUnavailable,
    ErrorCode,
    JobCanceled,
    JobError,
    JobStopped,
    LeaseLost,
    PermanentJobError,
    RetryableJobError,
    WorkerDraining,
)
from shared.faults import fault_point
from shared.jobs import lifecycle
from shared.jobs.lifecycle import ClaimedJob, Outcome, Verdict
from workers.context import JobContext, JobHandle
from workers.heartbeat import Heartbeat
from workers.retry import backoff_seconds
from workers.services import Services

log = structlog.get_logger(__name__)

INTERNAL_MESSAGE = (
    "Darkroom itself went wrong on this job; nothing is the matter with your request. "
    "The operator finds the trace in the worker's log under the job's id."
)

Result = Contract | JobError | JobStopped
"""What became of one job: its output, why there is none, or what it was stopped by."""


class Handler(Protocol):
    """A job kind's work: a batch in, a result each out. Knows neither Celery nor SQL."""

    def __call__(self, inputs: list[Any], context: JobContext) -> Sequence["Result"]: ...


class Observer(Protocol):
    """Hears of each job's way, for operators (Celery's task events)."""

    def started(self, jobs: Sequence[ClaimedJob]) -> None: ...

    def ended(self, outcomes: Sequence[tuple[ClaimedJob, Outcome]], run_seconds: float) -> None: ...


@dataclass(frozen=True)
class ExecutorSettings:
    lease_seconds: float
    slice_seconds: float
    max_crashes: int
    retention_days: int
    retry_base_seconds: float
    retry_cap_seconds: float


class Executor:
    """Runs what a wake-up finds.

    Args:
        announce: tells waiters which jobs reached a terminal state.
        ring: asks for one more wake-up of a queue.
        draining: whether the worker has been told to go away.
    """

    def __init__(
        self,
        *,
        worker: str,
        pool: Pool,
        kinds: Mapping[str, JobKind[Any, Any]],
        handlers: Mapping[str, Handler],
        services: Services,
        heartbeat: Heartbeat,
        observer: Observer,
        announce: Callable[[list[uuid.UUID]], None],
        ring: Callable[[str], None],
        draining: Callable[[], bool],
        settings: ExecutorSettings,
    ) -> None:
        self._worker = worker
        self._pool = pool
        self._kinds = kinds
        self._handlers = handlers
        self._services = services
        self._heartbeat = heartbeat
        self._observer = observer
        self._announce = announce
        self._ring = ring
        self._draining = draining
        self._settings = settings
        self._limits = {kind.name: kind.max_batch for kind in kinds.values()}

    def wake(self, queue: str, named: uuid.UUID | None = None) -> int:
        """Run the best jobs of `queue` until there are none, or this wake-up's slice is over.

        Returns:
            How many jobs were run.
        """
        until = time.monotonic() + self._settings.slice_seconds
        done = 0
        while self._heartbeat.healthy and not self._draining():
            jobs = self._claim(queue, named)
            if not jobs:
                return done
            fault_point("worker.after_claim")
            self._run(jobs)
            done += len(jobs)
            named = None
            if time.monotonic() > until:
                self._ring(queue)
                return done
        return done

    def _claim(self, queue: str, named: uuid.UUID | None) -> list[ClaimedJob]:
        try:
            return retry_once(
                self._pool,
                lambda connection: lifecycle.claim(
                    connection,
                    queue,
                    worker=self._worker,
                    lease_seconds=self._settings.lease_seconds,
                    limits=self._limits,
                    max_crashes=self._settings.max_crashes,
                    named=named,
                ),
            )
        except psycopg.Error as error:
            log.warning("claim_failed", queue=queue, error=str(error).strip())  # the sweeper rings again
            return []

    def _run(self, jobs: list[ClaimedJob]) -> None:
        handles = [JobHandle(job) for job in jobs]
        started = time.monotonic()
        self._observer.started(jobs)
        with self._heartbeat.holding(handles):
            results = self._results(handles)
            outcomes = [self._outcome(handle, result) for handle, result in zip(handles, results, strict=True)]
            fault_point("worker.before_finish")
            written = self._finish(handles, [outcome for outcome in outcomes if outcome])
        fault_point("worker.after_finish")
        ended = [(job, o) for job, o in zip(jobs, outcomes, strict=True) if o and o.job_id in written]
        self._announce([o.job_id for _, o in ended if o.verdict not in (Verdict.RETRY, Verdict.HANDED_BACK)])
        self._observer.ended(ended, time.monotonic() - started)

    def _results(self, handles: list[JobHandle]) -> list[Result]:
        """One result each. Jobs with unusable input fail alone; the others share the handler's batch."""
        kind = self._kinds.get(handles[0].job.kind)
        handler = self._handlers.get(handles[0].job.kind)
        if kind is None or handler is None:
            message = f"This worker does not know the kind {handles[0].job.kind!r}; it may be older than the API."
            return [RetryableJobError(ErrorCode.INTERNAL, message)] * len(handles)
        results: dict[int, Result] = {}
        good: list[tuple[int, Any]] = []
        for position, handle in enumerate(handles):
            try:
                good.append((position, kind.input.model_validate(handle.job.input)))
            except ValidationError as error:
                results[position] = PermanentJobError(ErrorCode.INVALID_INPUT, _first_fault(error))
        if good:
            context = JobContext(jobs=[handles[position] for position, _ in good], services=self._services)
            answers = self._call(handler, [value for _, value in good], context)
            results.update(zip((position for position, _ in good), answers, strict=True))
        return [results[position] for position in range(len(handles))]

    def _call(self, handler: Handler, inputs: list[Any], context: JobContext) -> list[Result]:
        """Run the batch; when it fails as a whole, run each job alone, so that one cannot take the others down."""
        try:
            answers = list(handler(inputs, context))
            if len(answers) != len(inputs):
                raise RuntimeError(f"the handler answered {len(answers)} results for {len(inputs)} jobs")
            return [_stop_or(answer, handle) for answer, handle in zip(answers, context.jobs, strict=True)]
        except Exception as error:
            if len(inputs) == 1:
                return [_as_result(error, context.jobs[0])]
            log.warning("batch_failed", jobs=len(inputs), error=repr(error))
        return [self._call(handler, [value], context.alone(index))[0] for index, value in enumerate(inputs)]

    def _outcome(self, handle: JobHandle, result: Result) -> Outcome | None:
        """What to write for a job; None for one that is no longer ours."""
        report = handle.take_report()
        progress = None if report.fraction is None else (report.fraction, report.message)
        common: dict[str, Any] = {"log": report.log, "progress": progress}
        job_id, attempt = handle.id, handle.attempt
        match result:
            case LeaseLost():
                log.warning("lease_lost", job_id=str(job_id), attempt=attempt)
                return None
            case WorkerDraining():
                return Outcome(job_id, attempt, Verdict.HANDED_BACK, **common)
            case JobCanceled():
                error = _error(ErrorCode.CANCELED, "The job was canceled.", attempt, retryable=True)
                return Outcome(job_id, attempt, Verdict.CANCELED, error=error, **common)
            case DeadlinePassed():
                allowed = f"{handle.job.seconds_left:g} s"
                message = f"The job ran for more than its {allowed}. Raise timeout_seconds, or give it less to do."
                error = _error(ErrorCode.TIMED_OUT, message, attempt, retryable=True)
                return Outcome(job_id, attempt, Verdict.FAILED, error=error, **common)
            case JobError():
                return self._failure(handle, result, common)
            case Contract():
                return self._success(handle, result, common)
            case _:
                raise TypeError(f"a handler answered {type(result).__name__}")

    def _failure(self, handle: JobHandle, failure: JobError, common: dict[str, Any]) -> Outcome:
        error = _error(failure.code, failure.message, handle.attempt, retryable=failure.retryable)
        failures = handle.job.failures + 1
        if not failure.retryable or failures >= handle.job.max_attempts:
            return Outcome(handle.id, handle.attempt, Verdict.FAILED, error=error, **common)
        delay = failure.retry_in if isinstance(failure, RetryableJobError) else None
        if delay is None:
            settings = self._settings
            delay = backoff_seconds(failures, base=settings.retry_base_seconds, cap=settings.retry_cap_seconds)
        return Outcome(handle.id, handle.attempt, Verdict.RETRY, error=error, delay_seconds=delay, **common)

    def _success(self, handle: JobHandle, output: Contract, common: dict[str, Any]) -> Outcome:
        plain, key = self._services.outputs.rest(handle.job, output)
        return Outcome(handle.id, handle.attempt, Verdict.SUCCEEDED, output=plain, output_key=key, **common)

    def _finish(self, handles: Sequence[JobHandle], outcomes: list[Outcome]) -> set[uuid.UUID]:
        """Write the ends; while Postgres is away, keep trying for as long as the leases may still be ours."""
        give_up = time.monotonic() + self._settings.lease_seconds
        pause = 0.1
        while outcomes:
            try:
                written = retry_once(
                    self._pool,
                    lambda connection: lifecycle.finish(
                        connection, outcomes, retention_days=self._settings.retention_days
                    ),
                )
            except psycopg.OperationalError as error:
                if time.monotonic() > give_up:
                    log.error("finish_given_up", jobs=len(outcomes), error=str(error).strip())
                    return set()
                time.sleep(pause)
                pause = min(2.0, pause * 2)
                continue
            for handle in handles:
                handle.closed = True
            if stale := len(outcomes) - len(written):
                log.warning("stale_attempts", jobs=stale)
            return written
        return set()

    def abandon(self, handles: Sequence[JobHandle]) -> None:
        """A handler does not listen: end its jobs in its place, give their siblings back. The process must go then."""
        outcomes = []
        for handle in handles:
            reason = handle.stop_reason or WorkerDraining
            if outcome := self._outcome(handle, reason()):
                outcomes.append(outcome)
        log.error("handler_abandoned", jobs=[str(handle.id) for handle in handles])
        written = self._finish(handles, outcomes)
        self._announce([o.job_id for o in outcomes if o.job_id in written and o.verdict is not Verdict.HANDED_BACK])


def _stop_or(answer: Result, handle: JobHandle) -> Result:
    """A handler that noticed a stop may answer an error for that job; the stop is what counts."""
    if isinstance(answer, JobError) and (reason := handle.stop_reason):
        return reason()
    return answer


def _as_result(error: Exception, handle: JobHandle) -> Result:
    if isinstance(error, JobError | JobStopped):
        return error
    if isinstance(error, DependencyUnavailable):
        return RetryableJobError(ErrorCode.INTERNAL, f"A part of Darkroom was away: {error}. The job is tried again.")
    log.exception("handler_failed", job_id=str(handle.id), kind=handle.job.kind)
    return RetryableJobError(ErrorCode.INTERNAL, INTERNAL_MESSAGE)


def _first_fault(error: ValidationError) -> str:
    fault = error.errors()[0]
    where = ".".join(str(part) for part in fault["loc"])
    return f"input.{where}: {fault['msg']}. Submit the job again in the form that this version takes."


def _error(code: ErrorCode, message: str, attempt: int, *, retryable: bool) -> dict[str, Any]:
    return {"code": code.value, "message": message, "attempt": attempt, "retryable": retryable}
