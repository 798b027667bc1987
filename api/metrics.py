"""What `/metrics` shows: requests of this process, and how the queues of the whole stack stand."""

import asyncio
import time
from collections.abc import Mapping

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from shared.contracts.registry import QUEUES
from shared.database.asynchronous import Database
from shared.errors import DependencyUnavailable
from shared.jobs import queries

log = structlog.get_logger(__name__)

QUEUES_SECONDS = 5.0
ENDED_SECONDS = 60.0
"""Counting ended jobs reads the whole table: done this seldom, however often somebody scrapes."""
_BUCKETS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """One registry an application, so that tests can have many."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Histogram(
            "darkroom_http_request_seconds",
            "Time to answer a request, by route and status",
            ("method", "route", "status"),
            registry=self.registry,
            buckets=_BUCKETS,
        )
        self._jobs = _gauge(self.registry, "darkroom_jobs", "Jobs that are kept, by kind and state", "kind", "state")
        self._depth = _gauge(self.registry, "darkroom_queue_depth", "Jobs that are ready to run", "queue")
        self._oldest = _gauge(self.registry, "darkroom_queue_oldest_seconds", "Age of the first ready job", "queue")
        self._running = _gauge(self.registry, "darkroom_queue_running", "Jobs that are running", "queue")
        self._paused = _gauge(self.registry, "darkroom_queue_paused", "1 when nothing is claimed from it", "queue")
        self._lookups = Counter(
            "darkroom_cache_lookups", "Searches looked for in the cache", ("answer",), registry=self.registry
        )
        self._children: dict[tuple[str, str, int], Histogram] = {}
        self._read_at = {"queues": -ENDED_SECONDS, "ended": -ENDED_SECONDS}
        self._lock = asyncio.Lock()

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        key = (method, route, status)
        child = self._children.get(key)
        if child is None:
            child = self._children[key] = self._requests.labels(method, route, str(status))
        child.observe(seconds)

    def looked_up(self, answer: str) -> None:
        """`answer`: hit, miss or away."""
        self._lookups.labels(answer).inc()

    async def render(self, database: Database) -> bytes:
        """The text of `/metrics`. With Postgres away it shows what it saw last."""
        async with self._lock:
            try:
                await self._refresh(database)
            except DependencyUnavailable:
                log.warning("metrics_without_database")
        return generate_latest(self.registry)

    async def _refresh(self, database: Database) -> None:
        if self._due("queues", QUEUES_SECONDS):
            for depth in await queries.queue_depths(database, QUEUES):
                self._depth.labels(depth.name).set(depth.ready)
                self._oldest.labels(depth.name).set(depth.oldest_seconds or 0.0)
                self._running.labels(depth.name).set(depth.running)
                self._paused.labels(depth.name).set(depth.paused)
            self._show(await queries.active_counts(database), ("queued", "running"))
        if self._due("ended", ENDED_SECONDS):
            self._show(await queries.ended_counts(database), ("succeeded", "failed", "canceled"))

    def _due(self, what: str, seconds: float) -> bool:
        now = time.monotonic()
        if now - self._read_at[what] < seconds:
            return False
        self._read_at[what] = now
        return True

    def _show(self, counts: Mapping[tuple[str, str], int], states: tuple[str, ...]) -> None:
        seen = {tuple(metric.labels.values()) for family in self._jobs.collect() for metric in family.samples}
        for kind, state in {*counts, *((kind, state) for kind, state in seen if state in states)}:
            self._jobs.labels(kind, state).set(counts.get((kind, state), 0))


def _gauge(registry: CollectorRegistry, name: str, about: str, *labels: str) -> Gauge:
    return Gauge(name, about, labels, registry=registry)
