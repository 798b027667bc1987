"""Submitting: idempotency, batches, rings, and what the rows say."""

import asyncio
import time
import uuid
from typing import Any

import httpx
import orjson

from tests.integration.api.conftest import FakeWorker, Make, RecordingDoorbell, running

NOOP = {"kind": "noop", "input": {}}


async def test_the_same_key_and_body_is_the_same_job(client: httpx.AsyncClient, doorbell: RecordingDoorbell) -> None:
    headers = {"Idempotency-Key": "order 42"}
    first = await client.post("/v1/noop", content='{"input":{"sleep_ms":1,"steps":2}}', headers=headers | JSON)
    again = await client.post("/v1/noop", content='{"input": {"steps":2, "sleep_ms":1}}', headers=headers | JSON)
    assert first.status_code == again.status_code == 202
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert first.json()["id"] == again.json()["id"]
    assert len(doorbell.rings) == 1


JSON = {"Content-Type": "application/json"}


async def test_the_same_key_and_another_body_is_a_conflict(client: httpx.AsyncClient, worker: FakeWorker) -> None:
    headers = {"Idempotency-Key": "a"}
    await client.post("/v1/noop", json={"input": {}}, headers=headers)
    for body in ({"input": {"sleep_ms": 1}}, {"input": {}, "priority": "low"}):
        answer = await client.post("/v1/noop", json=body, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (409, "idempotency_conflict")
    other_kind = await client.post("/v1/embed", json={"input": {"texts": ["a"]}}, headers=headers)
    assert other_kind.status_code == 409
    assert worker.rows("SELECT count(*) FROM jobs") == [(1,)]


async def test_a_replay_shows_how_the_job_stands_and_waits_for_it(
    client: httpx.AsyncClient, worker: FakeWorker
) -> None:
    headers = {"Idempotency-Key": "a"}
    job = (await client.post("/v1/noop", json={"input": {}}, headers=headers)).json()
    worker.finish(job["id"], output={"attempt": 1})
    again = await client.post("/v1/noop", json={"input": {}}, headers=headers)
    assert (again.status_code, again.json()["status"]) == (202, "succeeded")
    waited = await client.post("/v1/noop", json={"input": {}}, headers=headers | {"Prefer": "wait=5"})
    assert (waited.status_code, waited.headers["idempotency-replayed"]) == (200, "true")


async def test_twenty_duplicates_at_once_are_one_job(client: httpx.AsyncClient, worker: FakeWorker) -> None:
    answers = await asyncio.gather(
        *(client.post("/v1/noop", json={"input": {}}, headers={"Idempotency-Key": "a"}) for _ in range(20))
    )
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert sum("idempotency-replayed" in answer.headers for answer in answers) == 19
    assert worker.rows("SELECT count(*) FROM jobs") == [(1,)]


async def test_two_processes_agree_on_one_job(make_settings: Make, worker: FakeWorker) -> None:
    async with running(make_settings()) as (_, first), running(make_settings()) as (_, second):
        for number in range(10):
            headers = {"Idempotency-Key": f"key-{number}"}
            answers = await asyncio.gather(
                *(api.post("/v1/noop", json={"input": {}}, headers=headers) for api in (first, second) * 5)
            )
            assert len({answer.json()["id"] for answer in answers}) == 1
    assert worker.rows("SELECT count(*) FROM jobs") == [(10,)]


async def test_keys_are_a_tenants_own(client: httpx.AsyncClient, make_key: Any) -> None:
    ids = set()
    for tenant in ("acme", "other"):
        headers = {"Idempotency-Key": "a", "Authorization": make_key(tenant=tenant)}
        answer = await client.post("/v1/noop", json={"input": {}}, headers=headers)
        assert answer.status_code == 202
        ids.add(answer.json()["id"])
    assert len(ids) == 2


async def test_many_submissions_at_once_each_get_their_own_job(client: httpx.AsyncClient, worker: FakeWorker) -> None:
    answers = await asyncio.gather(
        *(client.post("/v1/noop", json={"input": {"sleep_ms": n}, "metadata": {"n": str(n)}}) for n in range(200))
    )
    for number, answer in enumerate(answers):
        assert answer.json()["input"] == {"sleep_ms": number}
        row = worker.rows("SELECT metadata FROM jobs WHERE id = %s", answer.json()["id"])
        assert row == [({"n": str(number)},)]


async def test_a_batch_is_accepted_together(
    client: httpx.AsyncClient, worker: FakeWorker, doorbell: RecordingDoorbell
) -> None:
    jobs = [{"kind": "noop", "input": {"sleep_ms": n}, "priority": "low"} for n in range(130)]
    answer = await client.post("/v1/jobs/batch", json={"jobs": [*jobs, {"kind": "embed", "input": {"texts": ["a"]}}]})
    assert answer.status_code == 202, answer.text
    views = answer.json()["jobs"]
    assert [view["input"].get("sleep_ms") for view in views[:-1]] == list(range(130))
    assert views[-1]["input"] == {"texts": ["a"], "model": "starter-clip"}
    assert [view["queue_position"] for view in views] == [*range(1, 131), 1]
    assert (await client.get(f"/v1/jobs/{views[5]['id']}")).json() == views[5]
    assert worker.rows("SELECT count(*) FROM jobs WHERE kind = 'noop' AND priority = 2") == [(130,)]
    assert sorted(doorbell.rings, key=str) == [("embed", None, 1, False), ("noop", None, 3, False)]


async def test_jobs_that_run_alone_are_rung_one_by_one(client: httpx.AsyncClient, doorbell: RecordingDoorbell) -> None:
    jobs = [{"kind": "noop", "input": {"alone": True}}] * 3
    views = (await client.post("/v1/jobs/batch", json={"jobs": jobs})).json()["jobs"]
    assert doorbell.rings == [("noop", uuid.UUID(view["id"]), 1, False) for view in views]


async def test_one_wrong_job_refuses_the_batch_and_every_fault_is_named(
    client: httpx.AsyncClient, worker: FakeWorker
) -> None:
    jobs: list[Any] = [
        NOOP,
        {"kind": "noop", "input": {"sleep_ms": "x", "color": 1}},
        {"kind": "paint", "input": {}},
        {"kind": "noop"},
        7,
        {"kind": "noop", "input": {}, "webhook": "https://x"},
    ]
    answer = await client.post("/v1/jobs/batch", json={"jobs": jobs})
    assert answer.status_code == 422
    assert [error["path"] for error in answer.json()["errors"]] == [
        "jobs.1.input.sleep_ms",
        "jobs.1.input.color",
        "jobs.2.kind",
        "jobs.3.input",
        "jobs.4",
        "jobs.5.webhook",
    ]
    later = await client.post("/v1/jobs/batch", json={"jobs": [NOOP, {"kind": "embed", "input": LOOPBACK}]})
    assert later.json()["errors"][0]["path"] == "jobs.1.input.images.0"
    assert worker.rows("SELECT count(*) FROM jobs") == [(0,)]


LOOPBACK = {"images": ["http://127.0.0.1/a.png"]}


async def test_a_batch_has_1_to_1000_jobs(client: httpx.AsyncClient) -> None:
    for body in ({"jobs": []}, {"jobs": [NOOP] * 1001}, {"jobs": 3}, {}, {"jobs": [NOOP], "x": 1}, []):
        answer = await client.post("/v1/jobs/batch", json=body)
        assert answer.status_code == 422, body
    assert (await client.post("/v1/jobs/batch", json={"jobs": [NOOP] * 1000})).status_code == 202


def index_job(number: int, items: int) -> dict[str, Any]:
    """Every picture on a host of its own: no check of an address serves for another."""
    pictures = [f"https://pictures{n}.shop{number}.example.com/a.jpg" for n in range(items)]
    return {
        "kind": "index",
        "input": {"collection": "c", "items": [{"id": f"{n}", "image": url} for n, url in enumerate(pictures)]},
    }


async def test_a_batch_has_at_most_20000_entries(client: httpx.AsyncClient, worker: FakeWorker) -> None:
    jobs = [index_job(0, 1000)] * 20 + [{"kind": "embed", "input": {"texts": ["a"]}}]
    answer = await client.post("/v1/jobs/batch", json={"jobs": jobs})
    assert answer.status_code == 422
    (fault,) = answer.json()["errors"]
    assert fault["path"] == "jobs"
    assert "20001" in fault["message"]
    assert worker.rows("SELECT count(*) FROM jobs") == [(0,)]


async def test_a_large_batch_does_not_keep_others_waiting(client: httpx.AsyncClient, worker: FakeWorker) -> None:
    body = orjson.dumps({"jobs": [index_job(number, 1000) for number in range(20)]})
    longest, started = 0.0, time.monotonic()
    sending = asyncio.create_task(client.post("/v1/jobs/batch", content=body, headers=JSON))
    while not sending.done():
        before = time.monotonic()
        await asyncio.sleep(0.005)
        longest = max(longest, time.monotonic() - before)
    answer = await sending
    assert answer.status_code == 202, answer.text
    assert worker.rows("SELECT count(*) FROM jobs") == [(20,)]
    assert longest < 0.5 * (time.monotonic() - started)


async def test_faults_of_a_large_body_are_named(client: httpx.AsyncClient, worker: FakeWorker) -> None:
    jobs = [index_job(number, 1000) for number in range(5)]
    jobs[3]["input"]["items"][999]["image"] = "http://127.0.0.1/a.png"
    answer = await client.post("/v1/jobs/batch", json={"jobs": jobs}, headers={"Idempotency-Key": "a"})
    assert (answer.status_code, answer.json()["code"]) == (422, "image_forbidden_address")
    assert [fault["path"] for fault in answer.json()["errors"]] == ["jobs.3.input.items.999.image"]
    malformed = await client.post("/v1/noop", content=b"[" * 300_000, headers=JSON)
    assert malformed.status_code == 400


async def test_a_batch_is_idempotent_as_a_whole(client: httpx.AsyncClient, worker: FakeWorker) -> None:
    headers = {"Idempotency-Key": "night"}
    answers = await asyncio.gather(
        *(client.post("/v1/jobs/batch", json={"jobs": [NOOP] * 5}, headers=headers) for _ in range(5))
    )
    assert {answer.status_code for answer in answers} == {202}
    assert len({tuple(job["id"] for job in answer.json()["jobs"]) for answer in answers}) == 1
    assert worker.rows("SELECT count(*) FROM jobs") == [(5,)]
    for other in ([NOOP] * 4, [NOOP] * 6, [{"kind": "noop", "input": {"sleep_ms": 1}}] * 5):
        answer = await client.post("/v1/jobs/batch", json={"jobs": other}, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (409, "idempotency_conflict")


async def test_a_batch_of_which_jobs_are_gone_is_not_replayed(client: httpx.AsyncClient, worker: FakeWorker) -> None:
    headers = {"Idempotency-Key": "night"}
    first = await client.post("/v1/jobs/batch", json={"jobs": [NOOP] * 5}, headers=headers)
    for job in first.json()["jobs"][1:3]:
        assert (await client.delete(f"/v1/jobs/{job['id']}")).status_code == 204
    answer = await client.post("/v1/jobs/batch", json={"jobs": [NOOP] * 5}, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (409, "idempotency_expired")
    assert "2 of its 5 jobs" in answer.json()["detail"]
    assert worker.rows("SELECT count(*) FROM jobs") == [(3,)]


async def test_the_row_says_how_the_job_runs(client: httpx.AsyncClient, worker: FakeWorker) -> None:
    body = {"input": {"texts": ["a"] * 65}, "max_attempts": 5, "timeout_seconds": 12.5}
    job = (await client.post("/v1/embed", json=body)).json()
    rows = worker.rows(
        "SELECT queue, batch_key, max_attempts, timeout_seconds, input ->> 'model' FROM jobs WHERE id = %s", job["id"]
    )
    assert rows == [("clip_batch", "embed:starter-clip", 5, 12.5, "starter-clip")]
    plain = (await client.post("/v1/noop", json={"input": {"alone": True}})).json()
    rows = worker.rows("SELECT queue, batch_key, timeout_seconds FROM jobs WHERE id = %s", plain["id"])
    assert rows == [("noop", None, 60.0)]
