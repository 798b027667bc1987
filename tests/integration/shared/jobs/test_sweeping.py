"""The sweeper's statements on a real Postgres."""

from typing import Any

import pytest

from shared.database.pool import Connection
from shared.jobs import lifecycle, sweeping
from shared.jobs.lifecycle import Outcome, Verdict

from .conftest import AddJob, job_row, pass_time
from .test_lifecycle import LEASE, claim


def rescue(connection: Connection, page: int = 100) -> sweeping.Rescued:
    return sweeping.rescue(connection, max_crashes=3, retention_days=30, page=page)


def test_an_expired_lease_goes_back_to_its_queue_as_a_crash(connection: Connection, add: AddJob) -> None:
    job_id = add()
    claim(connection)
    assert rescue(connection).requeued == []
    pass_time(connection, LEASE + 1)
    assert rescue(connection).requeued == [("noop", job_id)]
    row = job_row(connection, job_id)
    assert (row["state"], row["crashes"], row["failures"], row["attempt"]) == ("queued", 1, 0, 1)


def test_a_job_that_always_kills_its_worker_is_given_up(connection: Connection, add: AddJob) -> None:
    job_id = add()
    for _ in range(2):
        claim(connection)
        pass_time(connection, LEASE + 1)
        assert rescue(connection).requeued
    claim(connection)
    pass_time(connection, LEASE + 1)
    assert rescue(connection).ended == [job_id]
    row = job_row(connection, job_id)
    assert (row["state"], row["error"]["code"], row["crashes"]) == ("failed", "worker_lost", 3)


@pytest.mark.parametrize("how", ["cancel_requested_at = now()", "cancel_at = now()"])
def test_a_lost_job_that_should_be_canceled_is(connection: Connection, add: AddJob, how: str) -> None:
    job_id = add()
    claim(connection)
    connection.execute(f"UPDATE jobs SET {how}")  # type: ignore[call-overload]
    pass_time(connection, LEASE + 1)
    assert rescue(connection).ended == [job_id]
    assert job_row(connection, job_id)["error"]["code"] == "canceled"


def test_pages_bound_each_statement(connection: Connection, add: AddJob) -> None:
    for _ in range(7):
        add(batch_key=None)
        claim(connection)
    pass_time(connection, LEASE + 1)
    assert [len(rescue(connection, page=3).requeued) for _ in range(4)] == [3, 3, 1, 0]


def test_a_job_past_its_deadline_fails_and_its_worker_is_fenced_off(connection: Connection, add: AddJob) -> None:
    job_id = add(timeout_seconds=5)
    claim(connection)
    pass_time(connection, 6)
    assert sweeping.time_out(connection, grace_seconds=2, retention_days=30, page=10) == []
    pass_time(connection, 2)
    assert sweeping.time_out(connection, grace_seconds=2, retention_days=30, page=10) == [job_id]
    assert job_row(connection, job_id)["error"]["code"] == "timed_out"
    assert lifecycle.finish(connection, [Outcome(job_id, 1, Verdict.SUCCEEDED)], retention_days=30) == {}


def test_cancel_after_ends_what_is_still_queued(connection: Connection, add: AddJob) -> None:
    job_id, other = add(cancel_in=5), add(cancel_in=50)
    pass_time(connection, 6)
    assert sweeping.cancel_due(connection, retention_days=30, page=10) == [job_id]
    assert job_row(connection, job_id)["state"] == "canceled"
    assert job_row(connection, other)["state"] == "queued"


def test_unclaimed_tells_the_best_waiting_jobs(connection: Connection, add: AddJob) -> None:
    add(next_run_in=-0.5)
    old, urgent = add(next_run_in=-5), add(next_run_in=-3, priority=0)
    add(next_run_in=-9, queue="search")
    found = sweeping.unclaimed(connection, "noop", grace_seconds=1, page=10)
    assert [job_id for job_id, _ in found] == [urgent, old]
    connection.execute("INSERT INTO queues (name, paused) VALUES ('noop', true)")
    assert sweeping.unclaimed(connection, "noop", grace_seconds=1, page=10) == []


@pytest.mark.parametrize(
    ("columns", "may"),
    [
        ({"state": "canceled", "attempt": 0}, False),
        ({"state": "succeeded", "attempt": 1}, False),
        ({"state": "succeeded", "attempt": 1, "output_key": "t/jobs/1/1/output.json.gz"}, True),
        ({"state": "succeeded", "attempt": 2}, True),
        ({"state": "failed", "attempt": 1}, True),
        ({"state": "canceled", "attempt": 1}, True),
    ],
)
def test_expired_rows_tell_whether_an_attempt_may_have_left_files(
    connection: Connection, add: AddJob, columns: dict[str, Any], may: bool
) -> None:
    kept = add(state="succeeded", expires_in=10)
    old = add(expires_in=-1, **columns)
    assert [(job.id, job.tenant, job.may_have_files) for job in sweeping.expired(connection, page=10)] == [
        (old, "t", may)
    ]
    sweeping.delete(connection, [old])
    assert connection.execute("SELECT id FROM jobs").fetchall() == [(kept,)]


def test_a_job_that_the_api_answered_has_left_no_files(connection: Connection, add: AddJob) -> None:
    job_id = add(state="succeeded", output="{}", cached=True, expires_in=-1)
    (expired,) = sweeping.expired(connection, page=10)
    assert (expired.id, expired.may_have_files) == (job_id, False)
