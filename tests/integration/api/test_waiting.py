"""`Prefer: wait` on a job that has ended answers at once."""

import time

import httpx

from .conftest import FakeWorker


async def test_a_job_that_has_ended_is_not_waited_for(client: httpx.AsyncClient, worker: FakeWorker) -> None:
    body, headers = {"input": {"texts": ["x"]}}, {"Idempotency-Key": "one"}
    job = (await client.post("/v1/embed", json=body, headers=headers)).json()
    worker.finish(job["id"], output={})
    begun = time.monotonic()
    for answer in (
        await client.get(f"/v1/jobs/{job['id']}", headers={"Prefer": "wait=20"}),
        await client.post("/v1/embed", json=body, headers=headers | {"Prefer": "wait=20"}),
    ):
        assert (answer.status_code, answer.json()["status"]) == (200, "succeeded")
        assert answer.headers["preference-applied"] == "wait=20"
    assert time.monotonic() - begun < 2
