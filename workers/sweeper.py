"""`python -m workers.sweeper`: the safety net. Any number may run; none needs the broker to do its work."""

import signal
import sys
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType

import psycopg
import structlog

from shared.contracts.registry import KINDS, QUEUES
from shared.database.pool import Pool, open_pool
from shared.errors import ConfigurationError
from shared.faults import fault_point
from shared.jobs import sweeping
from shared.jobs.completions import CompletionPublisher
from shared.jobs.doorbell import Bell, open_doorbell
from shared.logging import configure_logging
from shared.settings import SweeperSettings, load
from shared.storage import open_storage
from shared.vectors.opening import open_vectors
from workers.housekeeping import Housekeeper

log = structlog.get_logger(__name__)

MAX_RINGS = 8
"""Wake-ups for one queue in one sweep: enough to wake every process of a machine."""
SERVED_PAUSE_SECONDS = 5.0
"""Somebody takes jobs from the queue, and a worker needs about as long for one wake-up: one more a slice is plenty."""
RING_PAUSE_CAP_SECONDS = 30.0
"""A queue that nobody serves is rung this seldom in the end, so that its messages do not pile up."""


class Sweeper:
    """One sweep after another, each a handful of paged statements."""

    def __init__(
        self,
        pool: Pool,
        doorbell: Bell,
        settings: SweeperSettings,
        announce: Callable[[list[uuid.UUID]], None],
    ) -> None:
        self._pool = pool
        self._doorbell = doorbell
        self._settings = settings
        self._announce = announce
        self._rung: dict[str, _Rung] = {}

    def sweep(self) -> None:
        """Rescue, time out, cancel, ring.

        Raises:
            psycopg.OperationalError: Postgres is away; the next sweep tries again.
        """
        with self._pool.connection() as connection:
            self._in_pages(lambda: self._rescue(connection))
            self._in_pages(lambda: self._end_late(connection))
            for queue in QUEUES:
                self._ring_unclaimed(connection, queue)

    def _in_pages(self, take_page: Callable[[], int]) -> None:
        while take_page() >= self._settings.sweep_page:
            pass

    def _rescue(self, connection: sweeping.Connection) -> int:
        rescued = sweeping.rescue(
            connection,
            max_crashes=self._settings.max_crashes,
            retention_days=self._settings.retention_days,
            page=self._settings.sweep_page,
        )
        fault_point("sweeper.after_rescue")
        self._announce(rescued.ended)
        for queue, job_id in rescued.requeued[: MAX_RINGS * 4]:
            self._doorbell.ring(queue, job_id, merge=False)
        count = len(rescued.requeued) + len(rescued.ended)
        if count:
            log.warning("rescued", requeued=len(rescued.requeued), given_up=len(rescued.ended))
        return count

    def _end_late(self, connection: sweeping.Connection) -> int:
        page, days = self._settings.sweep_page, self._settings.retention_days
        grace = self._settings.deadline_grace_seconds
        late = sweeping.time_out(connection, grace_seconds=grace, retention_days=days, page=page)
        canceled = sweeping.cancel_due(connection, retention_days=days, page=page)
        self._announce(late + canceled)
        return max(len(late), len(canceled))

    def _ring_unclaimed(self, connection: sweeping.Connection, queue: str) -> None:
        """Ring for what has been ready for a while: for a queue that stands still ever more seldom, and for one that
        moves now and then, with a single ring, as its workers are busy rather than asleep.
        """
        jobs = sweeping.unclaimed(connection, queue, grace_seconds=self._settings.ring_grace_seconds, page=256)
        if not jobs:
            self._rung.pop(queue, None)
            return
        head, now = jobs[0][0], time.monotonic()
        last = self._rung.get(queue)
        moves = last is not None and last.head != head
        if last is not None and now - last.at < (SERVED_PAUSE_SECONDS if moves else last.pause):
            return
        if last is None:
            pause = self._settings.sweep_seconds
        else:
            pause = last.pause if moves else min(RING_PAUSE_CAP_SECONDS, last.pause * 2)
        self._rung[queue] = _Rung(head, now, pause)
        for job_id in _one_ring_a_batch(jobs)[: 1 if moves else MAX_RINGS]:
            self._doorbell.ring(queue, job_id, merge=False)


@dataclass(frozen=True, slots=True)
class _Rung:
    """The last time that a queue was rung."""

    head: uuid.UUID
    """The first job that waited then."""
    at: float
    """On the monotonic clock."""
    pause: float
    """Seconds until it is rung again if it stands still."""


def _one_ring_a_batch(jobs: list[tuple[uuid.UUID, str]]) -> list[uuid.UUID]:
    """The jobs to name in rings: one for as many as a worker takes at once."""
    rings: list[uuid.UUID] = []
    covered = 0
    for job_id, kind in jobs:
        if covered <= 0:
            rings.append(job_id)
            covered = KINDS[kind].max_batch if kind in KINDS else 1
        covered -= 1
    return rings


def main() -> int:
    try:
        settings = load(SweeperSettings)
    except ConfigurationError as error:
        print(error, file=sys.stderr)  # noqa: T201 - before logging exists
        return 2
    configure_logging(settings, role="sweeper")
    stop = threading.Event()

    def on_signal(number: int, frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    pool = open_pool(settings.database_url)
    doorbell = open_doorbell(settings.celery_broker_url)
    publisher = CompletionPublisher(settings.redis_url)
    storage, vectors = open_storage(settings.resolved_storage_url), open_vectors(settings, pool)
    Housekeeper(pool, storage, vectors, settings, stop).start()
    sweeper = Sweeper(pool, doorbell, settings, publisher.publish)
    log.info("sweeper_ready", every_seconds=settings.sweep_seconds)
    while not stop.wait(settings.sweep_seconds):
        try:
            sweeper.sweep()
        except (psycopg.Error, OSError) as error:
            log.warning("sweep_failed", error=str(error).strip())
    doorbell.close()
    pool.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
