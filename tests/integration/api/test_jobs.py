"""Submitting and following jobs."""

import uuid
from typing import Any

import httpx

from tests.integration.api.conftest import RecordingDoorbell

FIELDS = {
    *("id", "kind", "status", "priority", "attempt", "max_attempts", "input", "output", "error", "progress"),
    *(
        "queue_position",
        "logs",
        "metadata",
        "created_at",
        "started_at",
        "completed_at",
        "expires_at",
        "metrics",
        "urls",
    ),
}


async def submit(client: httpx.AsyncClient, **body: Any) -> dict[str, Any]:
    answer = await client.post("/v1/noop", json={"input": {}} | body)
    assert answer.status_code == 202, answer.text
    job: dict[str, Any] = answer.json()
    return job


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
