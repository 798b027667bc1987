"""Claim, beat and finish on a real Postgres."""

import threading
import uuid
from typing import Any

import pytest

from shared.database.pool import Connection, connect
from shared.jobs import lifecycle
from shared.jobs.lifecycle import Beat, ClaimedJob, Outcome, Verdict

from .conftest import AddJob, job_row, pass_time

LEASE = 30.0


def claim(connection: Connection, queue: str = "noop", **options: Any) -> list[ClaimedJob]:
    options = {"worker": "w", "lease_seconds": LEASE, "limits": {"noop": 3}, "max_crashes": 3, **options}
    return lifecycle.claim(connection, queue, **options)


def finish(connection: Connection, *outcomes: Outcome) -> set[uuid.UUID]:
    return set(lifecycle.finish(connection, outcomes, retention_days=30))


def test_claim_takes_a_batch_of_siblings_oldest_first(connection: Connection, add: AddJob) -> None:
    ids = [add(next_run_in=-10 + i) for i in range(5)]
    assert {job.id for job in claim(connection)} == set(ids[:3])
    assert {job.id for job in claim(connection)} == set(ids[3:])
    assert claim(connection) == []


def test_claimed_row_is_running_with_a_lease_and_a_deadline(connection: Connection, add: AddJob) -> None:
    job_id = add(timeout_seconds=7, input={"sleep_ms": 1})
    (job,) = claim(connection)
    assert (job.attempt, job.seconds_left, job.input) == (1, 7.0, {"sleep_ms": 1})
    row = job_row(connection, job_id)
    assert row["state"] == "running"
    assert (row["lease_until"] - row["started_at"]).total_seconds() == pytest.approx(LEASE)
    assert (row["deadline_at"] - row["started_at"]).total_seconds() == pytest.approx(7)


def test_priority_goes_before_the_named_job_and_the_named_one_before_age(connection: Connection, add: AddJob) -> None:
    old = add(next_run_in=-20, batch_key=None)
    named = add(next_run_in=-5, batch_key=None)
    urgent = add(next_run_in=-1, priority=0, batch_key=None)
    low = add(next_run_in=-60, priority=2, batch_key=None)
    order = [claim(connection, named=named)[0].id for _ in range(4)]
    assert order == [urgent, named, old, low]


def test_only_siblings_share_a_batch(connection: Connection, add: AddJob) -> None:
    first = add(next_run_in=-9, batch_key="a")
    add(next_run_in=-8, batch_key="b")
    same = add(next_run_in=-7, batch_key="a")
    add(next_run_in=-6, batch_key="a", queue="other")
    assert {job.id for job in claim(connection)} == {first, same}


def test_a_job_that_crashed_its_worker_runs_alone(connection: Connection, add: AddJob) -> None:
    poison = add(next_run_in=-9, crashes=1)
    healthy = add(next_run_in=-8)
    assert [job.id for job in claim(connection)] == [poison]
    assert [job.id for job in claim(connection)] == [healthy]


def test_jobs_that_are_not_due_wait(connection: Connection, add: AddJob) -> None:
    waiting = add(next_run_in=60)
    assert claim(connection, named=waiting) == []
    pass_time(connection, 61)
    assert [job.id for job in claim(connection)] == [waiting]


def test_a_paused_queue_is_not_claimed(connection: Connection, add: AddJob) -> None:
    job_id = add()
    connection.execute("INSERT INTO queues (name, paused) VALUES ('noop', true)")
    assert claim(connection, named=job_id) == []
    connection.execute("UPDATE queues SET paused = false")
    assert len(claim(connection)) == 1


def test_a_message_for_a_job_that_is_gone_takes_the_next_one(connection: Connection, add: AddJob) -> None:
    job_id = add()
    assert [job.id for job in claim(connection, named=uuid.uuid4())] == [job_id]


def test_a_job_past_its_cancel_time_is_not_claimed(connection: Connection, add: AddJob) -> None:
    job_id = add(cancel_in=-1)
    assert claim(connection, named=job_id) == []


@pytest.mark.parametrize("named", [True, False])
def test_an_expired_lease_is_claimed_again_as_a_crash(connection: Connection, add: AddJob, named: bool) -> None:
    job_id = add()
    claim(connection)
    assert claim(connection, named=job_id) == []
    pass_time(connection, LEASE + 1)
    (again,) = claim(connection, named=job_id if named else None)
    assert (again.id, again.attempt, again.crashes, again.failures) == (job_id, 2, 1, 0)


def test_poison_is_left_to_the_sweeper(connection: Connection, add: AddJob) -> None:
    add(crashes=2)
    claim(connection)
    pass_time(connection, LEASE + 1)
    assert claim(connection) == []


def test_many_claimers_never_share_a_job(connection: Connection, postgres_url: str, add: AddJob) -> None:
    ids = {add() for _ in range(200)}
    taken: list[uuid.UUID] = []

    def work() -> None:
        with connect(postgres_url) as own:
            while jobs := claim(own):
                taken.extend(job.id for job in jobs)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == len(ids)
    assert set(taken) == ids


def test_beat_extends_leases_and_writes_progress_and_logs(connection: Connection, add: AddJob) -> None:
    job_id = add()
    (job,) = claim(connection)
    pass_time(connection, 20)
    report = Beat(job_id, job.attempt, fraction=0.5, message="half", log="one\n")
    assert lifecycle.beat(connection, [report], lease_seconds=LEASE).owned == {job_id}
    lifecycle.beat(connection, [Beat(job_id, job.attempt, log="two\n")], lease_seconds=LEASE)
    row = job_row(connection, job_id)
    assert (row["progress_fraction"], row["progress_message"], row["logs"]) == (0.5, "half", "one\ntwo\n")
    pass_time(connection, 20)
    assert claim(connection) == []


def test_logs_keep_their_end(connection: Connection, add: AddJob) -> None:
    job_id = add()
    claim(connection)
    lifecycle.beat(connection, [Beat(job_id, 1, log="x" * 70_000 + "end")], lease_seconds=LEASE)
    logs = job_row(connection, job_id)["logs"]
    assert len(logs) == lifecycle.MAX_LOG_CHARACTERS
    assert logs.endswith("end")


def test_a_stale_attempt_hears_that_it_is_lost(connection: Connection, add: AddJob) -> None:
    job_id = add()
    claim(connection)
    pass_time(connection, LEASE + 1)
    claim(connection)
    assert lifecycle.beat(connection, [Beat(job_id, 1, fraction=0.9)], lease_seconds=LEASE).owned == frozenset()
    assert lifecycle.look(connection, [(job_id, 1)]).owned == frozenset()
    assert lifecycle.look(connection, [(job_id, 2)]).owned == {job_id}
    assert job_row(connection, job_id)["progress_fraction"] == 0


@pytest.mark.parametrize("how", ["cancel_requested_at = now()", "cancel_at = now() - interval '1 s'"])
def test_beat_and_look_tell_of_a_cancel(connection: Connection, add: AddJob, how: str) -> None:
    job_id = add()
    claim(connection)
    connection.execute(f"UPDATE jobs SET {how}")  # type: ignore[call-overload]
    assert lifecycle.look(connection, [(job_id, 1)]).canceled == {job_id}
    assert lifecycle.beat(connection, [Beat(job_id, 1)], lease_seconds=LEASE).canceled == {job_id}


def test_finish_writes_each_verdict(connection: Connection, add: AddJob) -> None:
    ids = [add() for _ in range(3)] + [add(batch_key="x"), add(batch_key="x")]
    claim(connection)
    claim(connection)
    error = {"code": "internal", "message": "m", "attempt": 1, "retryable": True}
    written = finish(
        connection,
        Outcome(ids[0], 1, Verdict.SUCCEEDED, output={"a": 1}, log="done\n"),
        Outcome(ids[1], 1, Verdict.FAILED, error=error, progress=(0.25, "quarter")),
        Outcome(ids[2], 1, Verdict.CANCELED),
        Outcome(ids[3], 1, Verdict.RETRY, error=error, delay_seconds=10),
        Outcome(ids[4], 1, Verdict.HANDED_BACK),
    )
    assert written == set(ids)
    rows = [job_row(connection, job_id) for job_id in ids]
    assert [row["state"] for row in rows] == ["succeeded", "failed", "canceled", "queued", "queued"]
    assert [row["failures"] for row in rows] == [0, 0, 0, 1, 0]
    assert (rows[0]["output"], rows[0]["logs"], rows[0]["progress_fraction"]) == ({"a": 1}, "done\n", 1)
    assert (rows[1]["error"], rows[1]["progress_fraction"]) == (error, 0.25)
    assert all(row["completed_at"] and row["expires_at"] for row in rows[:3])
    assert all(row["lease_until"] is None and row["completed_at"] is None for row in rows[3:])
    assert [job.id for job in claim(connection)] == [ids[4]]
    pass_time(connection, 11)
    assert [(job.id, job.attempt) for job in claim(connection)] == [(ids[3], 2)]


def test_a_late_attempt_writes_nothing(connection: Connection, add: AddJob) -> None:
    job_id = add()
    claim(connection)
    pass_time(connection, LEASE + 1)
    claim(connection)
    assert finish(connection, Outcome(job_id, 1, Verdict.SUCCEEDED, output={"by": 1})) == set()
    assert finish(connection, Outcome(job_id, 2, Verdict.SUCCEEDED, output={"by": 2})) == {job_id}
    assert finish(connection, Outcome(job_id, 2, Verdict.FAILED, error={"code": "x"})) == set()
    row = job_row(connection, job_id)
    assert (row["state"], row["output"], row["error"]) == ("succeeded", {"by": 2}, None)


@pytest.mark.parametrize("how", ["cancel_requested_at = now()", "cancel_at = now() - interval '1 s'"])
@pytest.mark.parametrize("verdict", [Verdict.RETRY, Verdict.POSTPONED, Verdict.HANDED_BACK])
def test_a_cancel_that_was_asked_for_ends_what_would_run_again(
    connection: Connection, add: AddJob, how: str, verdict: Verdict
) -> None:
    job_id = add()
    claim(connection)
    connection.execute(f"UPDATE jobs SET {how}")  # type: ignore[call-overload]
    outcome = Outcome(job_id, 1, verdict, error={"code": "internal"})
    assert lifecycle.finish(connection, [outcome], retention_days=30) == {job_id: "canceled"}
    row = job_row(connection, job_id)
    assert (row["state"], row["error"]["code"], row["completed_at"] is not None) == ("canceled", "canceled", True)


def test_a_job_that_was_put_off_is_not_charged_for_it(connection: Connection, add: AddJob) -> None:
    job_id = add()
    claim(connection)
    finish(connection, Outcome(job_id, 1, Verdict.POSTPONED, delay_seconds=7))
    row = job_row(connection, job_id)
    assert (row["state"], row["failures"], row["crashes"]) == ("queued", 0, 0)
    assert (row["next_run_at"] - row["started_at"]).total_seconds() == pytest.approx(7, abs=1)
