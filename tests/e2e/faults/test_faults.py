"""Processes die, stall and are told to go at named points; every accepted job still ends once. A row a fault."""

import os
import signal
import time
import uuid
from typing import Any

import pytest

from tests.e2e.pictures import catalogue_items

from .conftest import FaultyStack

WORKER_FAULTS = [
    ("worker.after_claim", "SIGKILL"),
    ("worker.after_claim", "parent:SIGKILL"),
    ("worker.after_claim", "parent:SIGTERM"),
    ("worker.before_finish", "SIGKILL"),
    ("worker.before_finish", "parent:SIGTERM"),
    ("worker.after_finish", "SIGKILL"),
    ("worker.before_ack", "SIGKILL"),
]
EFFECT_POINTS = ["worker.before_effect", "worker.after_effect"]
API_POINTS = ["api.after_commit", "api.after_ring"]


@pytest.mark.parametrize(("point", "strike"), WORKER_FAULTS)
def test_a_worker_is_struck(faulty: FaultyStack, point: str, strike: str) -> None:
    faulty.arm(point, strike)
    ids = [faulty.submit(input={"sleep_ms": 20}) for _ in range(5)]
    faulty.wait_until_struck(point)
    for job_id in ids:
        job = faulty.ended(job_id)
        assert job["status"] == "succeeded"
        assert job["attempt"] <= 2
        assert job["output"]["attempt"] == job["attempt"], "the output is the winning attempt's"
    assert faulty.rows("SELECT max(failures) FROM jobs") == [(0,)], "a lost worker is not the job's failure"


@pytest.mark.parametrize("point", ["worker.after_claim", "worker.before_finish"])
def test_a_worker_stalls_past_its_lease_and_comes_back(faulty: FaultyStack, point: str) -> None:
    faulty.arm(point, "SIGSTOP")
    job_id = faulty.submit()
    pid = faulty.wait_until_struck(point)
    won = faulty.ended(job_id)
    assert (won["status"], won["attempt"]) == ("succeeded", 2)
    os.kill(pid, signal.SIGCONT)
    time.sleep(1.5)
    assert faulty.get(job_id) == won, "a late attempt changes nothing"


@pytest.mark.parametrize("strike", ["SIGKILL", "SIGSTOP"])
@pytest.mark.parametrize("point", EFFECT_POINTS)
def test_a_worker_is_struck_around_its_writes(faulty: FaultyStack, point: str, strike: str) -> None:
    collection = f"faults-{uuid.uuid4().hex[:8]}"
    items = catalogue_items(20)
    faulty.arm(point, strike)
    job_id = faulty.submit("index", {"collection": collection, "items": items})
    pid = faulty.wait_until_struck(point)
    job = faulty.ended(job_id)
    if strike == "SIGSTOP":
        os.kill(pid, signal.SIGCONT)
        time.sleep(1.0)
        assert faulty.get(job_id) == job
    assert job["status"] == "succeeded"
    assert job["output"]["indexed"] + job["output"]["skipped"] == len(items)
    with faulty.stack.client() as client:
        assert client.get(f"/v1/collections/{collection}").json()["count"] == len(items)


@pytest.mark.parametrize("point", API_POINTS)
def test_the_api_is_killed_while_it_accepts(faulty: FaultyStack, point: str) -> None:
    faulty.arm(point)
    key = str(uuid.uuid4())
    job_id = faulty.submit(**{"Idempotency-Key": key})
    faulty.wait_until_struck(point)
    assert faulty.ended(job_id)["status"] == "succeeded"
    assert faulty.rows("SELECT count(*) FROM jobs WHERE idempotency_key = %s", key) == [(1,)]


@pytest.mark.parametrize("point", ["api.after_insert", *API_POINTS])
def test_the_api_is_killed_while_it_accepts_a_batch(faulty: FaultyStack, point: str) -> None:
    faulty.arm(point)
    jobs = [{"kind": "noop", "input": {}} for _ in range(5)]
    ids = faulty.send("/v1/jobs/batch", {"jobs": jobs}, **{"Idempotency-Key": str(uuid.uuid4())})
    faulty.wait_until_struck(point)
    assert len(set(ids)) == 5
    assert {faulty.ended(job_id)["status"] for job_id in ids} == {"succeeded"}


def test_the_api_ends_what_it_began_when_told_to_go(faulty: FaultyStack) -> None:
    faulty.arm("api.after_commit", "SIGTERM")
    job_id = faulty.submit()
    assert faulty.ended(job_id)["status"] == "succeeded"


@pytest.mark.parametrize("strike", ["SIGKILL", "SIGTERM"])
def test_the_sweeper_is_struck_while_it_rescues(faulty: FaultyStack, strike: str) -> None:
    faulty.arm("worker.after_claim")
    job_id = faulty.submit()
    faulty.wait_until_struck("worker.after_claim")
    faulty.arm("sweeper.after_rescue", strike)
    faulty.wait_until_struck("sweeper.after_rescue")
    assert faulty.ended(job_id)["status"] == "succeeded"


def test_a_job_that_kills_every_worker_is_given_up_and_its_siblings_are_not(faulty: FaultyStack) -> None:
    poison = faulty.submit(input={"crash": True})
    others = [faulty.submit(input={"sleep_ms": 5}) for _ in range(5)]
    job = faulty.ended(poison, 60)
    assert (job["status"], job["error"]["code"]) == ("failed", "worker_lost")
    assert {faulty.ended(job_id)["status"] for job_id in others} == {"succeeded"}


def test_a_worker_that_drains_hands_back_what_is_long(faulty: FaultyStack) -> None:
    job_id = faulty.submit(input={"sleep_ms": 9_000, "steps": 20})
    faulty.stack.until(lambda: faulty.get(job_id)["status"] == "running", "running")
    os.kill(faulty.stack.state_of("worker-cpu")["pid"], signal.SIGTERM)
    job = faulty.ended(job_id, 60)
    assert (job["status"], job["attempt"]) == ("succeeded", 2)
    assert faulty.rows("SELECT failures, crashes FROM jobs WHERE id = %s", job_id) == [(0, 0)]


def test_postgres_is_restarted_under_running_jobs(faulty: FaultyStack) -> None:
    running = faulty.submit(input={"sleep_ms": 3_000})
    faulty.stack.until(lambda: faulty.get(running)["status"] == "running", "running")
    os.kill(faulty.stack.state_of("postgres")["pid"], signal.SIGQUIT)
    later = faulty.submit()
    faulty.stack.until_all_run()
    _until_ready(faulty)
    for job_id in (running, later):
        assert faulty.ended(job_id, 60)["status"] == "succeeded"


def test_backends_are_terminated_under_running_jobs(faulty: FaultyStack) -> None:
    ids = [faulty.submit(input={"sleep_ms": 300}) for _ in range(6)]
    faulty.rows(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
    )
    assert {faulty.ended(job_id)["status"] for job_id in ids} == {"succeeded"}


def test_with_valkey_away_jobs_are_accepted_and_run_when_it_is_back(faulty: FaultyStack) -> None:
    os.kill(faulty.stack.state_of("valkey")["pid"], signal.SIGKILL)
    started = time.monotonic()
    ids = [faulty.submit() for _ in range(3)]
    assert time.monotonic() - started < 10
    faulty.stack.until_all_run()
    assert {faulty.ended(job_id, 60)["status"] for job_id in ids} == {"succeeded"}


def test_messages_that_lie_do_no_harm(faulty: FaultyStack) -> None:
    """The same message twice, and one for a job that no longer exists."""
    from shared.jobs.doorbell import open_doorbell

    bell = open_doorbell(faulty.stack.url("redis"))
    job_id = faulty.submit(input={"sleep_ms": 200})
    for named in (job_id, job_id, uuid.uuid4()):
        bell.ring("noop", named, merge=False)
    bell.close()
    job = faulty.ended(job_id)
    assert (job["status"], job["attempt"]) == ("succeeded", 1)


def _until_ready(faulty: FaultyStack) -> None:
    def ready() -> Any:
        with faulty.stack.client() as client:
            return client.get("/health/ready").status_code == 200

    faulty.stack.until(ready, "ready again")
