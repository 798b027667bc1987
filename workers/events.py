"""Celery's own task events, per job: Flower and exporters list every job under the id that its user holds.

A wake-up runs many jobs, so its own events are off; these take their place. They are sent from a thread, in groups,
and dropped when the broker is away: they inform operators, and nothing depends on them.
"""

import os
import queue
import socket
import threading
import time
from collections.abc import Iterable, Sequence
from typing import Any

import structlog
from celery import Celery
from celery.events.dispatcher import EventDispatcher

from shared.jobs.lifecycle import ClaimedJob, Outcome, Verdict

log = structlog.get_logger(__name__)

GROUP = 500
"""Events in one message at most."""
MAX_PENDING = 50_000
"""Events kept while the broker is slow or away; later ones are dropped."""
FLUSH_SECONDS = 0.05

Event = dict[str, Any]


class TaskEvents:
    """Sends `task-received`, `task-started` and how each job ended.

    Args:
        hostname: the Celery node name that operators know the worker by.
    """

    def __init__(self, app: Celery, hostname: str) -> None:
        self._app = app
        self._hostname = hostname
        self._pid = os.getpid()
        self._events: queue.SimpleQueue[list[Event]] = queue.SimpleQueue()
        self._pending = 0
        self._lock = threading.Lock()
        threading.Thread(target=self._run, name="task-events", daemon=True).start()

    def started(self, jobs: Sequence[ClaimedJob]) -> None:
        now = time.time()
        events = [
            self._event("task-received", job, now, name=job.kind, args="", kwargs=f"attempt={job.attempt}")
            for job in jobs
        ]
        events += [self._event("task-started", job, now) for job in jobs]
        self._put(events)

    def ended(self, outcomes: Sequence[tuple[ClaimedJob, Outcome]], run_seconds: float) -> None:
        now = time.time()
        self._put([self._end_event(job, outcome, now, run_seconds) for job, outcome in outcomes])

    def _end_event(self, job: ClaimedJob, outcome: Outcome, now: float, run_seconds: float) -> Event:
        message = outcome.error["message"] if outcome.error else ""
        match outcome.verdict:
            case Verdict.SUCCEEDED:
                return self._event("task-succeeded", job, now, runtime=run_seconds, result="")
            case Verdict.FAILED:
                return self._event("task-failed", job, now, exception=message, traceback="")
            case Verdict.CANCELED:
                return self._event("task-revoked", job, now, terminated=True, signum=None, expired=False)
            case _:
                return self._event("task-retried", job, now, exception=message or "handed back", traceback="")

    def _event(self, type: str, job: ClaimedJob, now: float, **fields: Any) -> Event:
        return {
            "type": type,
            "uuid": str(job.id),
            "hostname": self._hostname,
            "pid": self._pid,
            "timestamp": now,
            "utcoffset": 0,
            "clock": self._app.clock.forward(),
            **fields,
        }

    def _put(self, events: list[Event]) -> None:
        with self._lock:
            if events and self._pending + len(events) <= MAX_PENDING:
                self._pending += len(events)
                self._events.put(events)

    def _take(self) -> list[Event]:
        events = self._events.get()
        with self._lock:
            self._pending -= len(events)
        return events

    def _run(self) -> None:
        dispatcher: EventDispatcher | None = None
        while True:
            group = self._take()
            time.sleep(FLUSH_SECONDS)  # let a few batches gather: one message costs far more than one event
            while len(group) < GROUP and not self._events.empty():
                group += self._take()
            try:
                dispatcher = dispatcher or self._open()
                self._send(dispatcher, group)
            except Exception as error:  # noqa: BLE001 - whatever the transport raises, operators' news may be dropped
                log.warning("events_dropped", events=len(group), error=type(error).__name__)
                _close(dispatcher)
                dispatcher = None

    def _open(self) -> EventDispatcher:
        connection = self._app.connection_for_write()
        return self._app.events.Dispatcher(
            connection, hostname=self._hostname, buffer_while_offline=False, delivery_mode=1
        )

    def _send(self, dispatcher: EventDispatcher, group: Iterable[Event]) -> None:
        """One message for many events, in the form that Celery's own dispatcher gives to buffered groups."""
        dispatcher.producer.publish(
            list(group),
            routing_key="task.multi",
            exchange=dispatcher.exchange.name,
            declare=[dispatcher.exchange],
            serializer=dispatcher.serializer,
            headers={"hostname": self._hostname},
            delivery_mode=1,
            retry=False,
        )


def _close(dispatcher: EventDispatcher | None) -> None:
    if dispatcher is not None and dispatcher.connection is not None:
        try:
            dispatcher.connection.close()
        except Exception:  # noqa: BLE001 - it is broken already
            log.debug("events_connection_close_failed")


def node_name(name: str) -> str:
    """Celery's own form: `name@host`."""
    return name if "@" in name else f"{name}@{socket.gethostname()}"
