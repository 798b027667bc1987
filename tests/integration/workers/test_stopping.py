"""Jobs that are canceled, late, lost or handed back; handlers that do not listen; Postgres away."""

import time
from collections.abc import Sequence
from typing import Any

import psycopg
import pytest

from shared.contracts.noop import NoopInput, NoopOutput
from shared.contracts.registry import KINDS
from shared.database.pool import Connection, connect
from shared.errors import JobStopped, LeaseLost, WorkerDraining
from tests.integration.shared.jobs.conftest import add_job, job_row, pass_time
from tests.integration.workers.rig import LEASE, Worker, add, after, execute, until
from workers.context import JobContext
from workers.handlers import noop


def test_draining_keeps_a_full_batch_from_bringing_the_next(worker: Worker, connection: Connection) -> None:
    jobs = [add_job(connection) for _ in range(2 * KINDS["noop"].max_batch)]

    def drain(inputs: list[Any], context: JobContext) -> Sequence[Any]:
        worker.drained_at = time.monotonic()
        return noop.handle(inputs, context)

    worker.handler = drain
    assert worker.executor.wake("noop") == 64
    assert [job_row(connection, id)["attempt"] for id in jobs].count(0) == 64


def test_heartbeats_keep_a_long_job(worker: Worker, connection: Connection) -> None:
    job_id = add(connection, input={"sleep_ms": LEASE * 2500, "steps": 4})
    worker.wake()
    row = job_row(connection, job_id)
    assert (row["state"], row["attempt"], row["progress_message"]) == ("succeeded", 1, "step 4 of 4")


def test_a_canceled_job_stops_soon_and_its_siblings_go_on(worker: Worker, connection: Connection) -> None:
    long = add(connection, input={"sleep_ms": 20_000})
    other = add(connection)
    after(0.3, lambda: execute(worker.url, "UPDATE jobs SET cancel_requested_at = now() WHERE id = %s", long))
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


def test_a_lost_lease_stops_the_handler_and_writes_nothing(worker: Worker, connection: Connection) -> None:
    job_id = add(connection, input={"sleep_ms": 20_000})
    after(0.3, lambda: execute(worker.url, "UPDATE jobs SET attempt = attempt + 1 WHERE id = %s", job_id))
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
    until(lambda: heartbeat.healthy)
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
