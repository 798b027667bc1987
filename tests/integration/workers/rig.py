"""One executor on a real Postgres, with a handler made for the occasion and everything else to look at."""

import threading
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from shared.contracts.registry import KINDS
from shared.database.pool import Connection, Pool, connect
from shared.jobs.lifecycle import ClaimedJob, Outcome, Verdict
from tests.integration.shared.jobs.conftest import add_job
from workers.context import JobHandle
from workers.executor import Executor, ExecutorSettings, Handler
from workers.handlers import noop
from workers.heartbeat import Heartbeat
from workers.services import Services

LEASE = 1.2


class PlainOutputs:
    def rest(self, job: ClaimedJob, output: Any) -> tuple[Any, str | None]:
        return output.model_dump(mode="json"), None


class _Events:
    """Keeps what operators would see."""

    def __init__(self) -> None:
        self.ends: list[tuple[uuid.UUID, Verdict]] = []

    def started(self, jobs: Sequence[ClaimedJob]) -> None: ...

    def ended(self, outcomes: Sequence[tuple[ClaimedJob, Outcome]], run_seconds: float) -> None:
        self.ends += [(job.id, outcome.verdict) for job, outcome in outcomes]


@dataclass
class Worker:
    """One executor with everything that it was given."""

    url: str
    pool: Pool
    handler: Handler = noop.handle
    drained_at: float | None = None
    events: _Events = field(default_factory=_Events)
    announced: list[uuid.UUID] = field(default_factory=list)
    rings: list[str] = field(default_factory=list)
    abandoned: list[JobHandle] = field(default_factory=list)
    slice_seconds: float = 5.0
    services: Services | None = None
    handlers: dict[str, Handler] = field(default_factory=dict)
    """Of other kinds than `noop`."""

    def __post_init__(self) -> None:
        services = self.services or Services(*([cast(Any, None)] * 5), outputs=PlainOutputs(), tags=cast(Any, None))
        self.executor = Executor(
            worker="test",
            pool=self.pool,
            kinds=KINDS,
            handlers={"noop": lambda inputs, context: self.handler(inputs, context), **self.handlers},
            services=services,
            heartbeat=self.beating(),
            observer=self.events,
            announce=self.announced.extend,
            ring=self.rings.append,
            draining=lambda: self.drained_at is not None,
            settings=ExecutorSettings(LEASE, self.slice_seconds, 3, 30, 2.0, 600.0),
        )

    def beating(self) -> Heartbeat:
        return Heartbeat(
            lambda: connect(self.url),
            lease_seconds=LEASE,
            drain_seconds=2.0,
            stop_grace_seconds=0.5,
            draining_for=lambda: None if self.drained_at is None else time.monotonic() - self.drained_at,
            abandon=self._abandon,
        )

    def _abandon(self, handles: Sequence[JobHandle]) -> None:
        self.executor.abandon(handles)
        self.abandoned += handles

    def drain(self) -> None:
        self.drained_at = time.monotonic()

    def wake(self, queue: str = "noop") -> int:
        return self.executor.wake(queue)


def add(connection: Connection, **columns: Any) -> uuid.UUID:
    return add_job(connection, **columns)


def after(seconds: float, act: Callable[[], object]) -> None:
    threading.Timer(seconds, act).start()


def execute(url: str, statement: str, *parameters: object) -> None:
    with connect(url) as connection:
        connection.execute(statement, parameters)  # type: ignore[call-overload]


def until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)
