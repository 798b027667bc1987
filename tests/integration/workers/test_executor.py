"""Claim, run, finish on a real Postgres, with handlers made for the occasion."""

from collections.abc import Sequence
from typing import Any

import psycopg
import pytest

from shared.contracts.noop import NoopInput, NoopOutput
from shared.contracts.registry import KINDS
from shared.database.pool import Connection
from shared.errors import (
    DependencyUnavailable,
    ErrorCode,
    PermanentJobError,
    RetryableJobError,
)
from shared.jobs.lifecycle import ClaimedJob, Verdict
from shared.storage import StorageError
from tests.integration.shared.jobs.conftest import add_job, job_row, pass_time
from tests.integration.workers.rig import LEASE, PlainOutputs, Worker, add
from workers.context import JobContext
from workers.executor import ExecutorSettings
from workers.handlers import noop


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

    class Full(PlainOutputs):
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

    class Odd(PlainOutputs):
        def rest(self, job: ClaimedJob, output: Any) -> tuple[Any, str | None]:
            return ({"text": "\x00"} if job.id == ids[2] else {}), None

    worker.executor._outcomes._outputs = Odd()
    worker.wake()
    assert [job_row(connection, job_id)["state"] for job_id in ids] == ["succeeded", "succeeded", "failed"]


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
