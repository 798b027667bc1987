"""Ringing: telling the workers of a queue, through Celery, that there may be work.

A ring carries no work and may be lost, doubled or late without harm (the sweeper rings again). So it is published in
the background, merged with its neighbours, given up quickly when the broker is away, and never fails its caller.
"""

import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import structlog
from celery import Celery

from shared.jobs.celery_settings import celery_settings

log = structlog.get_logger(__name__)

WAKE_TASK = "darkroom.wake"
"""Task `darkroom.wake.<queue>` with the arguments (queue, job id or None)."""
RING_EXPIRES_SECONDS = 600
"""A wake-up that nobody took for so long is dropped; the sweeper has rung again by then."""
MAX_PENDING_RINGS = 10_000
"""Rings kept while the broker is away; later ones are left to the sweeper."""
MAX_WAITING_RINGS = 16
"""Rings of one queue that name no job and are not sent yet. Each wakes a process that goes on until there is nothing
left, so more of them would only cost the broker and the workers time."""

Publish = Callable[[str, uuid.UUID | None], None]


@dataclass(slots=True)
class _Pending:
    due: float
    named: uuid.UUID | None


class Bell(Protocol):
    """Whatever rings."""

    def ring(self, queue: str, job_id: uuid.UUID | None = None, *, times: int = 1, merge: bool = True) -> None: ...


class Doorbell:
    """Publishes rings from a thread of its own.

    Args:
        publish: sends one wake-up; may raise (the ring is dropped then).
        debounce_seconds: rings of a queue that follow one within this time share one more ring.
    """

    def __init__(self, publish: Publish, *, debounce_seconds: float = 0.005) -> None:
        self._publish = publish
        self._debounce = debounce_seconds
        self._condition = threading.Condition()
        self._pending: dict[str, _Pending] = {}
        self._direct: list[tuple[str, uuid.UUID | None]] = []
        self._last: dict[str, float] = {}
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="doorbell", daemon=True)
        self._thread.start()

    def ring(self, queue: str, job_id: uuid.UUID | None = None, *, times: int = 1, merge: bool = True) -> None:
        """Ask for `times` wake-ups of `queue`. Returns at once.

        Args:
            merge: let rings within the debounce time share one (kinds that batch). Otherwise each is sent.
        """
        with self._condition:
            if not merge or times > 1:
                if job_id is None:  # what waits to be sent rings for these jobs as well: they are committed
                    times = min(times, MAX_WAITING_RINGS - self._direct.count((queue, None)))
                if len(self._direct) < MAX_PENDING_RINGS:
                    self._direct.extend([(queue, job_id)] * times)
            elif queue not in self._pending:
                due = max(time.monotonic(), self._last.get(queue, 0.0) + self._debounce)
                self._pending[queue] = _Pending(due, job_id)
            self._condition.notify()

    def close(self, timeout: float = 3.0) -> None:
        """Send what is pending and stop."""
        with self._condition:
            self._closed = True
            self._condition.notify()
        self._thread.join(timeout)

    def _run(self) -> None:
        while True:
            with self._condition:
                rings = self._take()
                while not rings:
                    if self._closed and not self._pending:
                        return
                    self._condition.wait(self._seconds_to_next())
                    rings = self._take()
            for queue, job_id in rings:
                self._send(queue, job_id)

    def _take(self) -> list[tuple[str, uuid.UUID | None]]:
        rings, self._direct = self._direct, []
        now = time.monotonic()
        for queue, pending in list(self._pending.items()):
            if pending.due <= now or self._closed:
                del self._pending[queue]
                self._last[queue] = now
                rings.append((queue, pending.named))
        return rings

    def _seconds_to_next(self) -> float | None:
        if not self._pending:
            return None
        return max(0.0, min(pending.due for pending in self._pending.values()) - time.monotonic())

    def _send(self, queue: str, job_id: uuid.UUID | None) -> None:
        try:
            self._publish(queue, job_id)
        except Exception as error:  # noqa: BLE001 - a ring never fails its caller, whatever the broker raises
            with self._condition:
                dropped = len(self._direct)
                self._direct.clear()
            log.warning("ring_failed", queue=queue, error=type(error).__name__, dropped=dropped)


def celery_publisher(app: Celery) -> Publish:
    """Publish wake-ups through a Celery app, trying once more on a broken connection and then giving up."""

    def publish(queue: str, job_id: uuid.UUID | None) -> None:
        app.send_task(
            f"{WAKE_TASK}.{queue}",
            args=(queue, str(job_id) if job_id else None),
            queue=queue,
            expires=RING_EXPIRES_SECONDS,
            ignore_result=True,
            retry=True,
        )

    return publish


def open_doorbell(broker_url: str, *, debounce_seconds: float = 0.005) -> Doorbell:
    """A doorbell for a process that is no Celery worker (the API, the sweeper)."""
    app = Celery("darkroom", set_as_current=False)
    app.conf.update(celery_settings(broker_url))
    return Doorbell(celery_publisher(app), debounce_seconds=debounce_seconds)
