"""Following jobs: get, wait, list, cancel, retry, delete."""

import asyncio
import time
import uuid
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from shared.jobs.outputs import pack
from shared.storage.keys import job_file_key
from tests.integration.api.conftest import FakeWorker, Make, RecordingDoorbell, running, submit

FIELDS = {
    *("id", "kind", "status", "priority", "attempt", "max_attempts", "input", "output", "error", "progress", "logs"),
    *("queue_position", "metadata", "created_at", "started_at", "completed_at", "expires_at", "metrics", "urls"),
}


async def test_a_submitted_job_is_answered_as_it_is_stored(
    client: httpx.AsyncClient, doorbell: RecordingDoorbell
) -> None:
    answer = await client.post(
        "/v1/noop", json={"input": {"sleep_ms": 10}, "priority": "high", "metadata": {"order": "42"}}
    )
    job = answer.json()
    assert answer.status_code == 202
    assert set(job) == FIELDS
    assert job["status"] == "queued"
    assert job["queue_position"] == 1
    assert job["input"] == {"sleep_ms": 10}
    assert job["created_at"].endswith("Z")
    assert uuid.UUID(job["id"]).version == 7
    assert answer.headers["location"] == job["urls"]["get"] == f"http://darkroom.test/v1/jobs/{job['id']}"
    assert (await client.get(f"/v1/jobs/{job['id']}")).json() == job
    assert doorbell.rings == [("noop", uuid.UUID(job["id"]), 1, True)]


async def test_queue_positions_count_those_ahead(client: httpx.AsyncClient) -> None:
    first, second = await submit(client), await submit(client)
    urgent = await submit(client, priority="high")
    assert (first["queue_position"], second["queue_position"], urgent["queue_position"]) == (1, 2, 1)
    assert (await client.get(f"/v1/jobs/{second['id']}")).json()["queue_position"] == 3


async def test_a_finished_job_shows_its_output_and_times(client: httpx.AsyncClient, worker: FakeWorker) -> None:
    job = await submit(client)
    worker.run(job["id"])
    shown = (await client.get(f"/v1/jobs/{job['id']}")).json()
    assert (shown["status"], shown["attempt"], shown["queue_position"]) == ("running", 1, None)
    worker.finish(job["id"], output={"attempt": 1, "slept_ms": 0})
    shown = (await client.get(f"/v1/jobs/{job['id']}")).json()
    assert shown["status"] == "succeeded"
    assert shown["output"] == {"attempt": 1, "slept_ms": 0}
    assert shown["metrics"]["queue_seconds"] >= 0
    assert shown["metrics"]["run_seconds"] >= 0


async def test_a_failed_job_shows_its_error(client: httpx.AsyncClient, worker: FakeWorker) -> None:
    job = await submit(client)
    worker.finish(job["id"], "failed")
    shown = (await client.get(f"/v1/jobs/{job['id']}")).json()
    assert shown["error"] == {"code": "internal", "message": "It broke.", "attempt": 1, "retryable": False}


async def test_a_large_output_is_answered_from_storage(
    app: FastAPI, client: httpx.AsyncClient, worker: FakeWorker
) -> None:
    job = await submit(client)
    output = {"text": "é" * 300_000}
    packed = pack(output, over=262_144)
    assert packed is not None
    key = job_file_key("default", job["id"], 1, "output.json.gz")
    app.state.services.storage.put(key, packed)
    worker.finish(job["id"], output_key=key)
    assert (await client.get(f"/v1/jobs/{job['id']}")).json()["output"] == output
    assert (await client.get("/v1/jobs")).json()["data"][0]["output"] is None
    assert (await client.delete(f"/v1/jobs/{job['id']}")).status_code == 204
    assert not app.state.services.storage.exists(key)


async def test_waiting_ends_with_the_job(client: httpx.AsyncClient, worker: FakeWorker) -> None:
    job = await submit(client)
    started = time.monotonic()
    waiting = asyncio.create_task(client.get(f"/v1/jobs/{job['id']}", headers={"Prefer": "wait=20"}))
    await asyncio.sleep(0.3)
    assert not waiting.done()
    worker.finish(job["id"], output={})
    answer = await waiting
    assert answer.json()["status"] == "succeeded"
    assert answer.headers["preference-applied"] == "wait=20"
    assert time.monotonic() - started < 2


async def test_waiting_for_a_job_that_has_ended_answers_at_once(client: httpx.AsyncClient, worker: FakeWorker) -> None:
    job = await submit(client)
    worker.finish(job["id"], output={})
    started = time.monotonic()
    answer = await client.get(f"/v1/jobs/{job['id']}", headers={"Prefer": "wait=20"})
    assert answer.json()["status"] == "succeeded"
    assert time.monotonic() - started < 1


async def test_a_job_that_ends_as_it_is_accepted_is_heard(
    app: FastAPI, client: httpx.AsyncClient, worker: FakeWorker, doorbell: RecordingDoorbell
) -> None:
    """The worker is faster than the request that submitted: it ends the job before the answer is on its way."""

    def ring(queue: str, job_id: uuid.UUID, **_: Any) -> None:
        worker.finish(str(job_id), output={"attempt": 1})

    app.state.services.__dict__["doorbell"] = SimpleNamespace(ring=ring, close=doorbell.close)
    started = time.monotonic()
    for _ in range(5):
        answer = await client.post("/v1/noop", json={"input": {}}, headers={"Prefer": "wait=20"})
        assert (answer.status_code, answer.json()["status"]) == (200, "succeeded")
    assert time.monotonic() - started < 2


async def test_submitting_and_waiting_answers_200_with_the_finished_job(
    client: httpx.AsyncClient, doorbell: RecordingDoorbell, worker: FakeWorker
) -> None:
    waiting = asyncio.create_task(
        client.post("/v1/noop", json={"input": {}}, headers={"Prefer": "respond-async, wait=20"})
    )
    while not doorbell.rings:  # noqa: ASYNC110 - the doorbell is heard from nowhere else
        await asyncio.sleep(0.01)
    worker.finish(str(doorbell.rings[0][1]), output={"attempt": 1})
    answer = await waiting
    assert answer.status_code == 200
    assert answer.json()["output"] == {"attempt": 1}


async def test_a_wait_that_runs_out_is_no_error(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/noop", json={"input": {}}, headers={"Prefer": "wait=1"})
    assert answer.status_code == 202
    assert answer.json()["status"] == "queued"


@pytest.mark.parametrize("prefer", ["wait=0", "wait=-1", "wait=abc", "wait", "respond-async", ""])
async def test_a_preference_that_is_not_understood_is_ignored(client: httpx.AsyncClient, prefer: str) -> None:
    answer = await client.post("/v1/noop", json={"input": {}}, headers={"Prefer": prefer})
    assert answer.status_code == 202
    assert "preference-applied" not in answer.headers


async def test_waiting_works_without_redis(make_settings: Make, worker: FakeWorker) -> None:
    async with running(make_settings(redis_url="redis://127.0.0.1:1/0")) as (_, client):
        job = await submit(client)
        waiting = asyncio.create_task(client.get(f"/v1/jobs/{job['id']}", headers={"Prefer": "wait=20"}))
        await asyncio.sleep(0.3)
        worker.finish(job["id"], output={})
        answer = await asyncio.wait_for(waiting, 5)
        assert answer.json()["status"] == "succeeded"


async def test_those_who_wait_are_answered_when_the_process_stops(app: FastAPI, client: httpx.AsyncClient) -> None:
    waiting = asyncio.create_task(client.post("/v1/noop", json={"input": {}}, headers={"Prefer": "wait=30"}))
    await asyncio.sleep(0.3)
    app.state.services.stop()
    answer = await asyncio.wait_for(waiting, 2)
    assert answer.status_code == 202
    ready = await client.get("/health/ready")
    assert (ready.status_code, ready.json()["status"]) == (503, "stopping")


async def test_canceling_a_queued_job_ends_it_and_is_idempotent(client: httpx.AsyncClient) -> None:
    job = await submit(client)
    waiting = asyncio.create_task(client.get(f"/v1/jobs/{job['id']}", headers={"Prefer": "wait=20"}))
    await asyncio.sleep(0.2)
    first = await client.post(f"/v1/jobs/{job['id']}/cancel")
    assert first.json()["status"] == "canceled"
    assert first.json()["error"]["code"] == "canceled"
    assert (await asyncio.wait_for(waiting, 2)).json()["status"] == "canceled"
    assert (await client.post(f"/v1/jobs/{job['id']}/cancel")).json() == first.json()


async def test_canceling_a_running_job_asks_its_worker(client: httpx.AsyncClient, worker: FakeWorker) -> None:
    job = await submit(client)
    worker.run(job["id"])
    answer = await client.post(f"/v1/jobs/{job['id']}/cancel")
    assert (answer.status_code, answer.json()["status"]) == (200, "running")
    asked = worker.rows("SELECT cancel_requested_at FROM jobs WHERE id = %s", job["id"])
    await client.post(f"/v1/jobs/{job['id']}/cancel")
    assert worker.rows("SELECT cancel_requested_at FROM jobs WHERE id = %s", job["id"]) == asked != [(None,)]


async def test_canceling_a_finished_job_changes_nothing(client: httpx.AsyncClient, worker: FakeWorker) -> None:
    job = await submit(client)
    worker.finish(job["id"], output={})
    assert (await client.post(f"/v1/jobs/{job['id']}/cancel")).json()["status"] == "succeeded"


async def test_a_failed_job_can_be_run_afresh(
    client: httpx.AsyncClient, worker: FakeWorker, doorbell: RecordingDoorbell
) -> None:
    job = await submit(client)
    worker.run(job["id"])
    worker.connection.execute("UPDATE jobs SET failures = 2, crashes = 1, logs = 'x' WHERE id = %s", (job["id"],))
    worker.finish(job["id"], "failed")
    doorbell.rings.clear()
    answer = await client.post(f"/v1/jobs/{job['id']}/retry")
    assert answer.status_code == 202
    shown = answer.json()
    assert (shown["status"], shown["error"], shown["logs"]) == ("queued", None, "")
    assert shown["started_at"] is shown["completed_at"] is shown["expires_at"] is None
    assert worker.rows("SELECT failures, crashes FROM jobs WHERE id = %s", job["id"]) == [(0, 0)]
    assert doorbell.rings == [("noop", uuid.UUID(job["id"]), 1, False)]


async def test_only_a_failed_or_canceled_job_can_be_retried(client: httpx.AsyncClient, worker: FakeWorker) -> None:
    job = await submit(client)
    assert (await client.post(f"/v1/jobs/{job['id']}/retry")).status_code == 409
    worker.finish(job["id"], output={})
    answer = await client.post(f"/v1/jobs/{job['id']}/retry")
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")


async def test_a_deleted_job_is_gone(client: httpx.AsyncClient, worker: FakeWorker) -> None:
    job = await submit(client)
    worker.run(job["id"])
    refused = await client.delete(f"/v1/jobs/{job['id']}")
    assert (refused.status_code, refused.json()["code"]) == (409, "job_running")
    worker.finish(job["id"], output={})
    assert (await client.delete(f"/v1/jobs/{job['id']}")).status_code == 204
    assert (await client.get(f"/v1/jobs/{job['id']}")).status_code == 404
    assert (await client.delete(f"/v1/jobs/{job['id']}")).status_code == 404


async def test_cancel_after_is_written_to_the_row(client: httpx.AsyncClient, worker: FakeWorker) -> None:
    answer = await client.post("/v1/noop", json={"input": {}}, headers={"Cancel-After": "2m"})
    rows = worker.rows("SELECT extract(epoch FROM cancel_at - created_at) FROM jobs WHERE id = %s", answer.json()["id"])
    assert rows == [(120,)]


async def test_pages_are_stable_while_jobs_come_in(client: httpx.AsyncClient) -> None:
    ids = [(await submit(client))["id"] for _ in range(7)]
    seen: list[str] = []
    cursor = None
    while True:
        parameters = {"limit": "3"} | ({"cursor": cursor} if cursor else {})
        page = (await client.get("/v1/jobs", params=parameters)).json()
        seen += [job["id"] for job in page["data"]]
        cursor = page["next_cursor"]
        await submit(client)
        if cursor is None:
            break
    assert seen == ids[::-1]


async def test_lists_are_narrowed(client: httpx.AsyncClient, worker: FakeWorker) -> None:
    plain = await submit(client)
    marked = await submit(client, metadata={"order": "42", "shop": "a"})
    embed = (await client.post("/v1/embed", json={"input": {"texts": ["a"]}})).json()
    worker.finish(plain["id"], output={})

    async def ids(**parameters: Any) -> list[str]:
        answer = await client.get("/v1/jobs", params=parameters)
        assert answer.status_code == 200, answer.text
        return [job["id"] for job in answer.json()["data"]]

    now = datetime.now(UTC)
    assert await ids(kind="embed") == [embed["id"]]
    assert await ids(status="succeeded") == [plain["id"]]
    assert await ids(**{"metadata.order": "42", "metadata.shop": "a"}) == [marked["id"]]
    assert await ids(**{"metadata.order": "43"}) == []
    assert len(await ids(created_after=(now - timedelta(minutes=1)).isoformat())) == 3
    assert await ids(created_before=(now - timedelta(minutes=1)).isoformat()) == []
    assert await ids(created_after=plain["created_at"], created_before=embed["created_at"]) == [marked["id"]]


@pytest.mark.parametrize("moment", ["1970-01-01T00:00:00Z", "1970-01-01T00:00:00+14:00", "9000-12-31T23:59:59-14:00"])
async def test_lists_take_moments_of_any_offset(client: httpx.AsyncClient, moment: str) -> None:
    await submit(client)
    counts = []
    for name in ("created_after", "created_before"):
        answer = await client.get("/v1/jobs", params={name: moment})
        assert answer.status_code == 200, answer.text
        counts.append(len(answer.json()["data"]))
    assert sorted(counts) == [0, 1]


async def test_lists_leave_out_what_is_large(client: httpx.AsyncClient, worker: FakeWorker) -> None:
    texts = [f"{n} " + "word " * 1000 for n in range(20)]
    large = (await client.post("/v1/embed", json={"input": {"texts": texts}})).json()
    small = await submit(client)
    worker.finish(large["id"], output={"text": "é" * 70_000})
    worker.finish(small["id"], output={"text": "é" * 10_000})
    worker.rows("UPDATE jobs SET logs = %s || repeat('x', 4095) RETURNING id", "first\nlast")
    listed = {job["id"]: job for job in (await client.get("/v1/jobs")).json()["data"]}
    assert (listed[large["id"]]["input"], listed[large["id"]]["output"]) == (None, None)
    assert (listed[small["id"]]["input"], listed[small["id"]]["output"]) == ({}, {"text": "é" * 10_000})
    assert listed[small["id"]]["logs"] == "t" + "x" * 4095
    whole = (await client.get(f"/v1/jobs/{large['id']}")).json()
    assert whole["input"]["texts"] == texts
    assert whole["output"] == {"text": "é" * 70_000}
    assert whole["logs"].startswith("first")


@pytest.mark.parametrize(
    ("parameters", "path"),
    [
        ({"color": "red"}, "color"),
        ({"cursor": "!!"}, "cursor"),
        ({"cursor": "YWJj"}, "cursor"),
        ({"limit": "0"}, "limit"),
        ({"limit": "101"}, "limit"),
        ({"limit": "x"}, "limit"),
        ({"status": "done"}, "status"),
        ({"created_after": "yesterday"}, "created_after"),
        ({"created_after": "2026-01-01T00:00:00"}, "created_after"),
        ({"created_after": "0001-01-01T00:00:00Z"}, "created_after"),
        ({"created_after": "0001-01-01T00:00:00+14:00"}, "created_after"),
        ({"created_before": "9999-12-31T23:59:59Z"}, "created_before"),
        ({"created_before": "9999-12-31T23:59:59-14:00"}, "created_before"),
        ({"metadata.a": "b\0"}, "metadata.a"),
        ({"kind": "\0"}, "kind"),
    ],
)
async def test_a_wrong_parameter_is_named(client: httpx.AsyncClient, parameters: dict[str, str], path: str) -> None:
    answer = await client.get("/v1/jobs", params=parameters)
    assert answer.status_code == 422, answer.text
    assert [error["path"] for error in answer.json()["errors"]] == [path]
