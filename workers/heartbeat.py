"""The heartbeat: a thread with a connection of its own that keeps the leases of a worker process alive.

It also carries what only it may learn in time: that a job was canceled, that a lease is lost, that the worker drains,
that a handler no longer listens.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import psycopg
import structlog

from shared.database.pool import Connection
from shared.errors import JobCanceled, LeaseLost, WorkerDraining
from shared.jobs import lifecycle
from workers.context import JobHandle

log = structlog.get_logger(__name__)

LOOK_SECONDS = 1.0
"""How soon at the latest a running job hears that it was canceled, and its progress is written."""


class Heartbeat:
    """Beats for all jobs that are held.

    Args:
        connect: opens the thread's own connection.
        draining_for: seconds since the worker was told to drain, or None.
        abandon: called with the jobs still held when a handler ignores its stop signal; ends the process.
    """

    def __init__(
        self,
        connect: Callable[[], Connection],
        *,
        lease_seconds: float,
        drain_seconds: float,
        stop_grace_seconds: float,
        draining_for: Callable[[], float | None],
        abandon: Callable[[Sequence[JobHandle]], None],
    ) -> None:
        self._connect = connect
        self._lease = lease_seconds
        self._drain = drain_seconds
        self._grace = stop_grace_seconds
        self._draining_for = draining_for
        self._abandon = abandon
        self._tick = min(LOOK_SECONDS, lease_seconds / 6)
        self._held: dict[tuple[object, int], JobHandle] = {}
        self._condition = threading.Condition()
        self._closed = False
        self._connection: Connection | None = None
        self._last_beat = time.monotonic()
        self._healthy = threading.Event()
        self._healthy.set()
        threading.Thread(target=self._run, name="heartbeat", daemon=True).start()

    @property
    def healthy(self) -> bool:
        """False from a missed lease until a heartbeat succeeds again: claim nothing meanwhile."""
        return self._healthy.is_set()

    @contextmanager
    def holding(self, handles: Sequence[JobHandle]) -> Iterator[None]:
        """Keep the leases of these jobs alive for the time of a `with` block."""
        keys = [(handle.id, handle.attempt) for handle in handles]
        with self._condition:
            if not self._held:
                self._last_beat = min(handle.claimed_at for handle in handles)
            self._held.update(zip(keys, handles, strict=True))
            self._condition.notify()
        try:
            yield
        finally:
            with self._condition:
                for key in keys:
                    self._held.pop(key, None)
                # A job may notice a lost lease by its own clock before this thread does: claim nothing then either.
                if time.monotonic() - self._last_beat >= self._lease:
                    self._healthy.clear()
                    self._condition.notify()

    def close(self) -> None:
        """End the thread. A worker process never does: its heartbeat ends with it."""
        with self._condition:
            self._closed = True
            self._condition.notify()

    def _run(self) -> None:
        while not self._closed:
            with self._condition:
                while not self._held and self.healthy and not self._closed:
                    self._condition.wait()
            time.sleep(self._tick)
            with self._condition:
                handles = [handle for handle in self._held.values() if not handle.closed]
            try:
                if handles or not self.healthy:
                    self.tick(handles)
            except Exception:
                log.exception("heartbeat_failed")

    def tick(self, handles: Sequence[JobHandle]) -> None:
        """One round: tell the database that we live, and the handlers what the database says."""
        self._stop_what_must_stop(handles)
        try:
            answer = self._ask(handles)
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            self._drop_connection()
            self._lose_unbeaten(handles, error)
            return
        self._healthy.set()
        for handle in handles:
            if handle.closed:
                continue
            if handle.id not in answer.owned:
                handle.stop(LeaseLost)
            elif handle.id in answer.canceled:
                handle.stop(JobCanceled)

    def _ask(self, handles: Sequence[JobHandle]) -> lifecycle.BeatAnswer:
        connection = self._connection = self._connection or self._connect()
        now = time.monotonic()
        due = now - self._last_beat >= self._lease / 3 or any(handle.has_news for handle in handles)
        if not due or not handles:
            held = [(handle.id, handle.attempt) for handle in handles]
            return lifecycle.look(connection, held)
        reports = [handle.take_report() for handle in handles]
        try:
            answer = lifecycle.beat(connection, reports, lease_seconds=self._lease)
        except BaseException:
            for handle, report in zip(handles, reports, strict=True):
                handle.put_back(report)
            raise
        self._last_beat = now
        for handle in handles:
            if handle.id in answer.owned:
                handle.lease_until = now + self._lease
        return answer

    def _lose_unbeaten(self, handles: Sequence[JobHandle], error: Exception) -> None:
        log.warning("heartbeat_missed", error=type(error).__name__, held=len(handles))
        if time.monotonic() - self._last_beat < self._lease:
            return
        self._healthy.clear()
        for handle in handles:
            handle.stop(LeaseLost)

    def _stop_what_must_stop(self, handles: Sequence[JobHandle]) -> None:
        draining = self._draining_for()
        if draining is not None and draining > 0.7 * self._drain:
            for handle in handles:
                handle.stop(WorkerDraining)
        if draining is not None and draining > 0.9 * self._drain and handles:
            self._abandon(handles)
        now = time.monotonic()
        deaf = [h for h in handles if h.stop_reason and h.stopped_at and now - h.stopped_at > self._grace]
        if deaf:
            self._abandon(handles)

    def _drop_connection(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
