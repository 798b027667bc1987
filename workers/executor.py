"""Claim, run, finish: the one place that does it, and the one place that turns any exception into a job's end."""

import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import psycopg
import structlog
from pydantic import ValidationError

from shared.contracts.common import JobKind
from shared.database.pool import Connection, Pool, retry_once
from shared.errors import DeadlinePassed, ErrorCode, RetryableJobError
from shared.faults import fault_point
from shared.jobs import lifecycle
from shared.jobs.lifecycle import ClaimedJob, Outcome
from workers.batch import Batch
from workers.context import JobContext, JobHandle, Result
from workers.heartbeat import Heartbeat
from workers.outcomes import Outcomes, result_of, stopped_as, unusable
from workers.services import Services

log = structlog.get_logger(__name__)

_AWAY = (psycopg.OperationalError, psycopg.InterfaceError, psycopg.errors.ReadOnlySqlTransaction)
"""Postgres does not take writes: it is away, or it is the standby after a failover."""


class Handler(Protocol):
    """A job kind's work: a batch in, a result each out. Knows neither Celery nor SQL."""

    def __call__(self, inputs: list[Any], context: JobContext) -> Sequence[Result]: ...


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
        self._outcomes = Outcomes(
            services.outputs, retry_base=settings.retry_base_seconds, retry_cap=settings.retry_cap_seconds
        )
        self._running: Batch | None = None
        self._limits = {kind.name: kind.max_batch for kind in kinds.values()}

    def wake(self, queue: str, named: uuid.UUID | None = None) -> int:
        """Run the best jobs of `queue` until there are none, or this wake-up's slice is over.

        Returns:
            How many jobs were run.
        """
        until = time.monotonic() + self._settings.slice_seconds
        done = 0

        def may_claim() -> bool:
            return self._may_claim() and time.monotonic() <= until

        claimed_at = time.monotonic()
        jobs = self._claim(queue, named) if self._may_claim() else []
        while jobs:
            fault_point("worker.after_claim")
            batch = self._batch(jobs, claimed_at)
            claimed_at = time.monotonic()
            following = self._run(batch, queue, may_claim)
            done += len(jobs)
            if not following and time.monotonic() > until:
                self._ring(queue)
                return done
            if following is None:
                claimed_at = time.monotonic()
                following = self._claim(queue, None) if may_claim() else []
            jobs = following
        return done

    def _may_claim(self) -> bool:
        return self._heartbeat.healthy and not self._draining()

    def _claim(self, queue: str, named: uuid.UUID | None) -> list[ClaimedJob]:
        try:
            return retry_once(self._pool, lambda connection: self._claim_on(connection, queue, named))
        except psycopg.Error as error:
            log.warning("claim_failed", queue=queue, error=str(error).strip())  # the sweeper rings again
            return []

    def _claim_on(self, connection: Connection, queue: str, named: uuid.UUID | None = None) -> list[ClaimedJob]:
        return lifecycle.claim(
            connection,
            queue,
            worker=self._worker,
            lease_seconds=self._settings.lease_seconds,
            limits=self._limits,
            max_crashes=self._settings.max_crashes,
            named=named,
        )

    def _batch(self, jobs: Sequence[ClaimedJob], claimed_at: float) -> Batch:
        """`claimed_at`: from before the claim was sent, so that no lease seems longer here than it is."""
        lease = self._settings.lease_seconds
        handles = [JobHandle(job, lease_seconds=lease, claimed_at=claimed_at) for job in jobs]
        batch = Batch(handles, lambda known: self._write(known, batch.started_at))
        return batch

    def _run(self, batch: Batch, queue: str, may_claim: Callable[[], bool]) -> list[ClaimedJob] | None:
        """Run a batch. Returns the next one when it was claimed on the way; None when nobody has looked for it.

        After a full batch there is likely another, and it is claimed in the transaction that ends this one. After any
        other the ends come first: somebody may be waiting for them.
        """
        jobs = [handle.job for handle in batch.handles]
        full = 1 < self._limits.get(jobs[0].kind, 1) <= len(jobs)
        self._running = batch
        self._observer.started(jobs)
        with self._heartbeat.holding(batch.handles):
            self._work(batch)
            return self._write(batch.take(), batch.started_at, claim_from=queue if full and may_claim() else None)

    def _work(self, batch: Batch) -> None:
        """Settle every job. Those with unusable input fail alone; the others share the handler's batch."""
        kind = self._kinds.get(batch.handles[0].job.kind)
        handler = self._handlers.get(batch.handles[0].job.kind)
        good: list[tuple[JobHandle, Any]] = []
        for handle in batch.handles:
            if kind is None or handler is None:
                batch.settle(handle, _unknown_kind(handle.job.kind))
                continue
            try:
                good.append((handle, kind.input.model_validate(handle.job.input)))
            except ValidationError as error:
                batch.settle(handle, unusable(error))
        if good and handler:
            self._call(handler, good, batch)

    def _call(self, handler: Handler, jobs: list[tuple[JobHandle, Any]], batch: Batch) -> None:
        """Run the batch; when it fails as a whole, run each job alone, so that one cannot take the others down."""
        handles = [handle for handle, _ in jobs]
        context = JobContext(handles, self._services, on_settled=batch.settle, flush=batch.flush)
        try:
            answers = handler([value for _, value in jobs], context)
            for handle, answer in zip(handles, answers, strict=True):
                batch.settle(handle, answer)
        except Exception as error:
            left = [job for job in jobs if batch.is_open(job[0])]
            if len(jobs) == 1:
                batch.settle(handles[0], result_of(error, handles[0]))
                return
            log.warning("batch_failed", jobs=len(jobs), left=len(left), error=repr(error))
            for job in left:
                self._call(handler, [job], batch)

    def _write(
        self, known: list[tuple[JobHandle, Result]], started: float, claim_from: str | None = None
    ) -> list[ClaimedJob] | None:
        """Write some ends, and tell those who wait and those who watch. Returns what was claimed in the same breath."""
        return self._end([(handle, self._outcomes.of(handle, result)) for handle, result in known], started, claim_from)

    def _end(
        self, ends: Sequence[tuple[JobHandle, Outcome]], started: float, claim_from: str | None = None
    ) -> list[ClaimedJob] | None:
        fault_point("worker.before_finish")
        written, following = self._finish(ends, claim_from)
        fault_point("worker.after_finish")
        ended = [(handle.job, outcome) for handle, outcome in ends if handle.id in written]
        self._announce([job_id for job_id, state in written.items() if state != "queued"])
        self._observer.ended(ended, time.monotonic() - started)
        return following

    def _finish(
        self, ends: Sequence[tuple[JobHandle, Outcome]], claim_from: str | None
    ) -> tuple[dict[uuid.UUID, str], list[ClaimedJob] | None]:
        """Write the ends; while Postgres is away, keep trying for as long as the leases may still be ours.

        Returns:
            The states of the jobs that were written, and the next batch if it was claimed.
        """
        give_up = time.monotonic() + self._settings.lease_seconds
        outcomes = [outcome for _, outcome in ends]
        pause = 0.1
        while outcomes:
            try:
                written, following = retry_once(
                    self._pool, partial(self._finish_on, outcomes=outcomes, claim_from=claim_from)
                )
            except psycopg.DataError as error:  # one of them holds what Postgres cannot: find out which
                if len(outcomes) == 1:
                    log.error("end_not_stored", job_id=str(outcomes[0].job_id), error=str(error).strip())
                    handle = ends[0][0]
                    outcomes = [self._outcomes.of(handle, result_of(error, handle))]
                    ends = [(handle, outcomes[0])]
                    continue
                parts = [self._finish([end], None)[0] for end in ends]
                return {job_id: state for part in parts for job_id, state in part.items()}, None
            except _AWAY as error:
                if time.monotonic() > give_up:
                    log.error("finish_given_up", jobs=len(outcomes), error=str(error).strip())
                    return {}, None
                claim_from = None
                time.sleep(pause)
                pause = min(2.0, pause * 2)
                continue
            for handle, _ in ends:
                handle.closed = True
            if stale := len(outcomes) - len(written):
                log.warning("stale_attempts", jobs=stale)
            return written, following
        return {}, None

    def _finish_on(
        self, connection: Connection, outcomes: Sequence[Outcome], claim_from: str | None
    ) -> tuple[dict[uuid.UUID, str], list[ClaimedJob] | None]:
        days = self._settings.retention_days
        if claim_from is None:
            return lifecycle.finish(connection, outcomes, retention_days=days), None
        return lifecycle.finish_and_claim(
            connection, outcomes, lambda same: self._claim_on(same, claim_from), retention_days=days
        )

    def abandon(self, handles: Sequence[JobHandle]) -> None:
        """A handler does not listen: end its jobs in its place. The process must go then.

        What is known of the batch is written as it is. Of several jobs that are left, any one may be what the handler
        hangs on: they go back to run alone. One that is left alone ends as it was told to.
        """
        batch = self._running
        log.error("handler_abandoned", jobs=[str(handle.id) for handle in handles])
        self._write(batch.take() if batch else [], time.monotonic())
        left = [handle for handle in handles if not handle.closed]
        shared = len(left) > 1
        ends = [
            (handle, self._outcomes.suspect(handle))
            if shared and handle.stop_reason in (None, DeadlinePassed)
            else (handle, self._outcomes.of(handle, stopped_as(handle)))
            for handle in left
        ]
        self._end(ends, time.monotonic())


def _unknown_kind(kind: str) -> RetryableJobError:
    message = f"This worker does not know the kind {kind!r}; it may be older than the API."
    return RetryableJobError(ErrorCode.INTERNAL, message)
