"""What a handler is given: the jobs it runs, each with its own progress, log and stop signal, and shared services."""

import threading
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from shared.contracts.common import Contract
from shared.errors import DeadlinePassed, JobError, JobStopped, LeaseLost
from shared.jobs.lifecycle import Beat, ClaimedJob
from shared.vectors.protocol import Fence

if TYPE_CHECKING:
    from workers.services import Services

Result = Contract | JobError | JobStopped
"""What became of one job: its output, why there is none, or what it was stopped by."""


class JobHandle:
    """One running attempt, as its handler sees it. Methods may be called from any thread."""

    def __init__(self, job: ClaimedJob, *, lease_seconds: float = 60.0, claimed_at: float | None = None) -> None:
        self.job = job
        self.claimed_at = time.monotonic() if claimed_at is None else claimed_at
        self.lease_until = self.claimed_at + lease_seconds
        """On the monotonic clock: past it the job may be another worker's, whatever the heartbeat is waiting for."""
        self.deadline = self.claimed_at + job.seconds_left
        """On the monotonic clock."""
        self.closed = False
        """Finished: the heartbeat leaves it alone."""
        self.stopped_at: float | None = None
        self._stop: type[JobStopped] | None = None
        self._lock = threading.Lock()
        self._fraction: float | None = None
        self._message: str | None = None
        self._lines: list[str] = []

    @property
    def id(self) -> uuid.UUID:
        return self.job.id

    @property
    def tenant(self) -> str:
        return self.job.tenant

    @property
    def attempt(self) -> int:
        return self.job.attempt

    @property
    def fence(self) -> Fence:
        """Guards an effect outside the job's row: it happens only while this attempt holds the job."""
        return Fence(job_id=self.job.id, attempt=self.job.attempt)

    @property
    def version(self) -> int:
        """Grows with the time of submission: the last submitted write wins, whatever order workers run in."""
        return self.job.seq

    def progress(self, fraction: float, message: str | None = None) -> None:
        """Report how far the job is, 0 to 1. Written at most about once a second."""
        with self._lock:
            self._fraction = min(1.0, max(0.0, fraction))
            self._message = message if message is not None else self._message

    def log(self, line: str) -> None:
        """Add a line to the job's log, which its owner can read (no secrets, no traces)."""
        with self._lock:
            self._lines.append(line)

    def stop(self, reason: type[JobStopped]) -> None:
        """Tell the handler to stop. The first reason stands, but for a lost lease, which outranks all."""
        with self._lock:
            if self._stop is None or reason is LeaseLost:
                self._stop = reason
            if self.stopped_at is None:
                self.stopped_at = time.monotonic()

    @property
    def stop_reason(self) -> type[JobStopped] | None:
        """Why the handler should stop, or None to go on."""
        now = time.monotonic()
        if now > self.lease_until:
            self.stop(LeaseLost)
        elif self._stop is None and now > self.deadline:
            self.stop(DeadlinePassed)
        return self._stop

    def raise_if_stopped(self) -> None:
        """Call between steps.

        Raises:
            JobStopped: one of its subclasses; let it pass through the handler.
        """
        if reason := self.stop_reason:
            raise reason()

    @property
    def has_news(self) -> bool:
        return self._fraction is not None or bool(self._lines)

    def take_report(self) -> Beat:
        """What has been reported since the last call."""
        with self._lock:
            log = "".join(f"{line}\n" for line in self._lines)
            report = Beat(self.job.id, self.job.attempt, self._fraction, self._message, log)
            self._fraction, self._message, self._lines = None, None, []
        return report

    def put_back(self, report: Beat) -> None:
        """A report could not be written: keep it for the next one."""
        with self._lock:
            self._fraction = self._fraction if self._fraction is not None else report.fraction
            self._message = self._message if self._message is not None else report.message
            if report.log:
                self._lines.insert(0, report.log.removesuffix("\n"))


@dataclass(frozen=True)
class JobContext:
    """A batch of running jobs of one kind, and the services that handlers may use.

    `inputs[i]` of the handler belongs to `jobs[i]`. A handler answers all results at its end; it may settle a job
    earlier, so that its owner need not wait for slower ones beside it.
    """

    jobs: Sequence[JobHandle]
    services: "Services"
    on_settled: Callable[[JobHandle, Result], None] = lambda _handle, _result: None
    flush: Callable[[], None] = lambda: None
    """Write what has been settled; call it before waiting for something slow."""

    def settle(self, index: int, result: Result) -> None:
        """The result of one job is known. What the handler answers for it at its end is ignored then."""
        self.on_settled(self.jobs[index], result)
