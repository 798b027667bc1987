"""Claim, run, finish on a real Postgres, with handlers made for the occasion."""

import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import psycopg
import pytest

from shared.contracts.noop import NoopInput, NoopOutput
from shared.contracts.registry import KINDS
from shared.database.pool import Connection, Pool, connect, open_pool
from shared.errors import (
    DependencyUnavailable,
    ErrorCode,
    JobStopped,
    LeaseLost,
    PermanentJobError,
    RetryableJobError,
    WorkerDraining,
)
from shared.jobs.lifecycle import ClaimedJob, Outcome, Verdict
from shared.storage import StorageError
from tests.integration.shared.jobs.conftest import add_job, job_row, pass_time
from workers.context import JobContext, JobHandle
from workers.executor import Executor, ExecutorSettings, Handler
from workers.handlers import noop
from workers.heartbeat import Heartbeat
from workers.services import Services

LEASE = 1.2


class _PlainOutputs:
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

    def __post_init__(self) -> None:
        services = Services(*([cast(Any, None)] * 5), outputs=_PlainOutputs())
        self.executor = Executor(
            worker="test",
            pool=self.pool,
            kinds=KINDS,
            handlers={"noop": lambda inputs, context: self.handler(inputs, context)},
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

    def wake(self) -> int:
        return self.executor.wake("noop")


@pytest.fixture
def connection(postgres_url: str) -> Iterator[Connection]:
    with connect(postgres_url) as connection:
        yield connection


@pytest.fixture
def worker(postgres_url: str) -> Iterator[Worker]:
    with open_pool(postgres_url) as pool:
        yield Worker(postgres_url, pool)


def add(connection: Connection, **columns: Any) -> uuid.UUID:
    return add_job(connection, **columns)


def after(seconds: float, act: Callable[[], object]) -> None:
    threading.Timer(seconds, act).start()


def test_a_wake_up_runs_everything_that_is_there(worker: Worker, connection: Connection) -> None:
    ids = {add(connection) for _ in range(150)}
    assert worker.wake() == 150
    assert worker.wake() == 0
    assert set(worker.announced) == ids
    assert {verdict for _, verdict in worker.events.ends} == {Verdict.SUCCEEDED}
    assert connection.execute("SELECT DISTINCT state, attempt FROM jobs").fetchall() == [("succeeded", 1)]


def test_a_full_batch_brings_the_next_one_with_it(worker: Worker, connection: Connection) -> None:
    jobs = [add_job(connection) for _ in range(2 * KINDS["noop"].max_batch + 2)]
    sizes: list[int] = []

    def count(inputs: list[Any], context: JobContext) -> Sequence[Any]:
        sizes.append(len(inputs))
        return noop.handle(inputs, context)

    worker.handler = count
    assert worker.executor.wake("noop") == len(jobs)
    assert sizes == [64, 64, 2]
    assert all((row := job_row(connection, id))["state"] == "succeeded" and row["attempt"] == 1 for id in jobs)
    assert sorted(worker.announced) == sorted(jobs)


def test_draining_keeps_a_full_batch_from_bringing_the_next(worker: Worker, connection: Connection) -> None:
    jobs = [add_job(connection) for _ in range(2 * KINDS["noop"].max_batch)]

    def drain(inputs: list[Any], context: JobContext) -> Sequence[Any]:
        worker.drained_at = time.monotonic()
        return noop.handle(inputs, context)

    worker.handler = drain
    assert worker.executor.wake("noop") == 64
    assert [job_row(connection, id)["attempt"] for id in jobs].count(0) == 64


def test_a_slice_ends_with_one_more_ring(worker: Worker, connection: Connection) -> None:
    worker.executor._settings = ExecutorSettings(LEASE, 0.0, 3, 30, 2.0, 600.0)
    for _ in range(70):
        add(connection)
    assert worker.wake() == 64
    assert worker.rings == ["noop"]


def test_each_jobs_error_is_its_own(worker: Worker, connection: Connection) -> None:
    good = add(connection)
    bad = add(connection, input={"fail": "permanent"})
    buggy = add(connection, input={"fail": "bug"}, max_attempts=1)
    nonsense = add(connection, input={"sleep_ms": "long"})
    unknown = add(connection, kind="cook", batch_key=None, max_attempts=1)
    worker.wake()
    rows = [job_row(connection, job_id) for job_id in (good, bad, buggy, nonsense, unknown)]
    codes = [row["error"] and row["error"]["code"] for row in rows]
    assert codes == [None, "invalid_input", "internal", "invalid_input", "internal"]
    assert "input.sleep_ms" in rows[3]["error"]["message"]
    assert "asked for" not in rows[2]["error"]["message"], "an exception's text is the operator's, not the user's"


def test_retries_wait_longer_each_time_and_then_give_up(worker: Worker, connection: Connection) -> None:
    def fail(inputs: list[NoopInput], context: JobContext) -> list[Any]:
        return [RetryableJobError(ErrorCode.INTERNAL, "not now")] * len(inputs)

    worker.handler = fail
    job_id = add(connection, max_attempts=3)
    delays = []
    for _ in range(2):
        worker.wake()
        row = job_row(connection, job_id)
        assert row["state"] == "queued"
        delays.append((row["next_run_at"] - row["started_at"]).total_seconds())
        pass_time(connection, 700)
    worker.wake()
    row = job_row(connection, job_id)
    assert 1.0 <= delays[0] <= 2.2
    assert 2.0 <= delays[1] <= 4.2
    assert (row["state"], row["failures"], row["attempt"]) == ("failed", 2, 3)
    assert row["error"] == {"code": "internal", "message": "not now", "attempt": 3, "retryable": True}


def test_a_handler_says_when_to_retry(worker: Worker, connection: Connection) -> None:
    worker.handler = lambda inputs, context: [RetryableJobError(ErrorCode.INTERNAL, "m", retry_in=77)]
    job_id = add(connection)
    worker.wake()
    row = job_row(connection, job_id)
    assert (row["next_run_at"] - row["started_at"]).total_seconds() == pytest.approx(77, abs=1)


def test_a_batch_that_fails_as_a_whole_is_run_one_by_one(worker: Worker, connection: Connection) -> None:
    def moody(inputs: list[NoopInput], context: JobContext) -> list[Any]:
        if any(input.steps == 13 for input in inputs):
            raise RuntimeError("one of you")
        return [NoopOutput(attempt=job.attempt, slept_ms=0) for job in context.jobs]

    worker.handler = moody
    good = [add(connection) for _ in range(3)]
    bad = add(connection, input={"steps": 13}, max_attempts=1)
    worker.wake()
    assert {job_row(connection, job_id)["state"] for job_id in good} == {"succeeded"}
    assert job_row(connection, bad)["state"] == "failed"


def test_a_settled_job_is_written_while_the_batch_goes_on(worker: Worker, connection: Connection) -> None:
    states: list[str] = []

    def slow(inputs: list[NoopInput], context: JobContext) -> list[Any]:
        done = NoopOutput(attempt=1, slept_ms=0)
        context.settle(0, done)
        context.flush()
        states.extend(job_row(connection, job.id)["state"] for job in context.jobs)
        return [PermanentJobError(ErrorCode.INTERNAL, "ignored"), done]

    worker.handler = slow
    ids = [add(connection) for _ in range(2)]
    worker.wake()
    assert sorted(states) == ["running", "succeeded"]
    assert {job_row(connection, job_id)["state"] for job_id in ids} == {"succeeded"}


def test_a_batch_that_fails_midway_keeps_what_was_settled(worker: Worker, connection: Connection) -> None:
    calls: list[int] = []

    def broken(inputs: list[NoopInput], context: JobContext) -> list[Any]:
        calls.append(len(inputs))
        if len(inputs) == 3:
            context.settle(0, NoopOutput(attempt=1, slept_ms=0))
            raise RuntimeError("midway")
        return [NoopOutput(attempt=1, slept_ms=0)]

    worker.handler = broken
    ids = [add(connection) for _ in range(3)]
    worker.wake()
    assert calls == [3, 1, 1]
    assert {job_row(connection, job_id)["state"] for job_id in ids} == {"succeeded"}


def test_a_handler_that_answers_too_few_results_costs_no_job(worker: Worker, connection: Connection) -> None:
    worker.handler = lambda inputs, context: [NoopOutput(attempt=1, slept_ms=0)]
    ids = [add(connection) for _ in range(3)]
    worker.wake()
    assert {job_row(connection, job_id)["state"] for job_id in ids} == {"succeeded"}


def test_heartbeats_keep_a_long_job(worker: Worker, connection: Connection) -> None:
    job_id = add(connection, input={"sleep_ms": LEASE * 2500, "steps": 4})
    worker.wake()
    row = job_row(connection, job_id)
    assert (row["state"], row["attempt"], row["progress_message"]) == ("succeeded", 1, "step 4 of 4")


def test_a_canceled_job_stops_soon_and_its_siblings_go_on(worker: Worker, connection: Connection) -> None:
    long = add(connection, input={"sleep_ms": 20_000})
    other = add(connection)
    after(0.3, lambda: _execute(worker.url, "UPDATE jobs SET cancel_requested_at = now() WHERE id = %s", long))
    started = time.monotonic()
    worker.wake()
    assert time.monotonic() - started < 5
    assert [job_row(connection, job_id)["state"] for job_id in (long, other)] == ["canceled", "succeeded"]
    assert job_row(connection, long)["error"]["code"] == "canceled"


def test_a_job_past_its_deadline_fails(worker: Worker, connection: Connection) -> None:
    job_id = add(connection, input={"sleep_ms": 20_000}, timeout_seconds=0.4)
    worker.wake()
    row = job_row(connection, job_id)
    assert (row["state"], row["error"]["code"]) == ("failed", "timed_out")


def test_draining_finishes_what_is_short_and_hands_back_what_is_long(worker: Worker, connection: Connection) -> None:
    job_id = add(connection, input={"sleep_ms": 60_000})
    after(0.3, worker.drain)
    worker.wake()
    row = job_row(connection, job_id)
    assert (row["state"], row["failures"], row["crashes"]) == ("queued", 0, 0)
    assert worker.wake() == 0, "a draining worker claims nothing"


def test_a_lease_that_ran_out_unnoticed_is_given_back_and_is_no_crash(worker: Worker, connection: Connection) -> None:
    def stalled(inputs: list[NoopInput], context: JobContext) -> list[Any]:
        context.jobs[0].lease_until = time.monotonic() - 1
        context.jobs[0].raise_if_stopped()
        return []

    worker.handler = stalled
    job_id = add(connection)
    worker.wake()
    row = job_row(connection, job_id)
    assert (row["state"], row["crashes"], row["failures"]) == ("queued", 0, 0)


@pytest.mark.parametrize(
    "error", [DependencyUnavailable("away"), psycopg.OperationalError("away"), StorageError("full")]
)
def test_while_a_part_is_away_jobs_wait_and_are_not_charged(
    worker: Worker, connection: Connection, error: Exception
) -> None:
    def away(inputs: list[NoopInput], context: JobContext) -> list[Any]:
        raise error

    working = worker.handler
    worker.handler = away
    ids = [add(connection, max_attempts=1) for _ in range(3)]
    for _ in range(5):
        worker.wake()
        assert {job_row(connection, job_id)["state"] for job_id in ids} == {"queued"}
        pass_time(connection, 40)
    worker.handler = working
    worker.wake()
    assert {job_row(connection, job_id)["state"] for job_id in ids} == {"succeeded"}
    assert {job_row(connection, job_id)["failures"] for job_id in ids} == {0}


def test_an_output_that_cannot_be_stored_is_its_own_jobs_error(worker: Worker, connection: Connection) -> None:
    ids = [add(connection, max_attempts=1) for _ in range(4)]
    full = ids[1]

    class Full(_PlainOutputs):
        def rest(self, job: ClaimedJob, output: Any) -> tuple[Any, str | None]:
            if job.id == full:
                raise TypeError("not to be written")
            return super().rest(job, output)

    worker.executor._outcomes._outputs = Full()
    worker.wake()
    states = {job_id: job_row(connection, job_id)["state"] for job_id in ids}
    assert states == {job_id: "failed" if job_id == full else "succeeded" for job_id in ids}


def test_what_postgres_cannot_hold_fails_alone(worker: Worker, connection: Connection) -> None:
    ids = [add(connection, max_attempts=1) for _ in range(3)]

    class Odd(_PlainOutputs):
        def rest(self, job: ClaimedJob, output: Any) -> tuple[Any, str | None]:
            return ({"text": "\x00"} if job.id == ids[2] else {}), None

    worker.executor._outcomes._outputs = Odd()
    worker.wake()
    assert [job_row(connection, job_id)["state"] for job_id in ids] == ["succeeded", "succeeded", "failed"]


def test_a_lost_lease_stops_the_handler_and_writes_nothing(worker: Worker, connection: Connection) -> None:
    job_id = add(connection, input={"sleep_ms": 20_000})
    after(0.3, lambda: _execute(worker.url, "UPDATE jobs SET attempt = attempt + 1 WHERE id = %s", job_id))
    started = time.monotonic()
    worker.wake()
    assert time.monotonic() - started < 5
    row = job_row(connection, job_id)
    assert (row["state"], row["attempt"], row["output"]) == ("running", 2, None)
    assert worker.events.ends == []


def test_a_handler_that_does_not_listen_is_abandoned(worker: Worker, connection: Connection) -> None:
    deaf = add(connection, input={"sleep_ms": 4_000, "ignore_stop": True}, timeout_seconds=0.4, batch_key=None)
    worker.wake()
    assert {handle.id for handle in worker.abandoned} == {deaf}
    assert job_row(connection, deaf)["error"]["code"] == "timed_out"


def test_siblings_of_a_deaf_job_keep_their_results_or_run_alone(worker: Worker, connection: Connection) -> None:
    quick = add(connection, next_run_in=-9, timeout_seconds=0.4)
    deaf = add(connection, next_run_in=-8, input={"sleep_ms": 4_000, "ignore_stop": True}, timeout_seconds=0.4)
    waiting = add(connection, next_run_in=-7, timeout_seconds=0.4)
    worker.wake()
    assert job_row(connection, quick)["state"] == "succeeded"
    rows = [job_row(connection, job_id) for job_id in (deaf, waiting)]
    assert {(row["state"], row["crashes"]) for row in rows} <= {("queued", 1), ("succeeded", 1), ("failed", 1)}
    assert "timed_out" not in {row["error"] and row["error"]["code"] for row in rows if row["id"] == waiting}


def test_with_postgres_away_the_lease_is_given_up_and_nothing_is_claimed(
    worker: Worker, connection: Connection
) -> None:
    def refuse() -> Connection:
        raise psycopg.OperationalError("away")

    add(connection, input={"sleep_ms": 20_000})
    heartbeat = worker.executor._heartbeat
    heartbeat._connect = refuse
    started = time.monotonic()
    worker.wake()
    assert LEASE < time.monotonic() - started < LEASE + 3
    assert not heartbeat.healthy
    add(connection)
    assert worker.wake() == 0
    heartbeat._connect = lambda: connect(worker.url)
    _until(lambda: heartbeat.healthy)
    pass_time(connection, LEASE + 1)
    worker.handler = lambda inputs, context: [NoopOutput(attempt=1, slept_ms=0) for _ in inputs]
    assert worker.wake() == 2


@pytest.mark.parametrize("stop", [WorkerDraining, LeaseLost])
def test_a_stop_that_a_handler_raises_passes_through(
    worker: Worker, connection: Connection, stop: type[JobStopped]
) -> None:
    def stopping(inputs: list[NoopInput], context: JobContext) -> list[Any]:
        worker.drain()
        raise stop()

    worker.handler = stopping
    job_id = add(connection)
    worker.wake()
    assert job_row(connection, job_id)["state"] == "queued"


def test_logs_and_progress_of_a_quick_job_are_written_with_its_end(worker: Worker, connection: Connection) -> None:
    def talk(inputs: list[NoopInput], context: JobContext) -> list[Any]:
        context.jobs[0].log("hello")
        context.jobs[0].progress(0.5, "half")
        return [PermanentJobError(ErrorCode.INVALID_INPUT, "no")]

    worker.handler = talk
    job_id = add(connection)
    worker.wake()
    row = job_row(connection, job_id)
    assert (row["logs"], row["progress_fraction"], row["progress_message"]) == ("hello\n", 0.5, "half")


def _execute(url: str, statement: str, *parameters: object) -> None:
    with connect(url) as connection:
        connection.execute(statement, parameters)  # type: ignore[call-overload]


def _until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)
