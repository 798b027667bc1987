"""What operators see: queues, health, metrics; and the verb `keys`."""

import json
import re
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from qdrant_client.http.exceptions import UnexpectedResponse
from typer.testing import CliRunner

from api import metrics as api_metrics
from api.keys_command import keys as keys_command
from tests.integration.api.conftest import SERVER_KEY, FakeWorker, Make, RecordingDoorbell, running, submit
from tests.integration.api.test_refusals import problem


@pytest.fixture
def admin(make_key: Callable[..., str]) -> dict[str, str]:
    return {"Authorization": make_key("admin")}


async def test_queues_show_depth_age_and_what_runs(
    client: httpx.AsyncClient, worker: FakeWorker, admin: dict[str, str]
) -> None:
    jobs = [await submit(client) for _ in range(3)]
    worker.run(jobs[0]["id"])
    worker.connection.execute("UPDATE jobs SET next_run_at = now() + interval '1 hour' WHERE id = %s", (jobs[1]["id"],))
    worker.connection.execute(
        "UPDATE jobs SET next_run_at = now() - interval '90 seconds' WHERE id = %s", (jobs[2]["id"],)
    )
    listed = (await client.get("/v1/queues", headers=admin)).json()["data"]
    assert {queue["name"] for queue in listed} == {"clip_batch", "embed", "index", "noop", "search", "tag"}
    shown = (await client.get("/v1/queues/noop", headers=admin)).json()
    assert (shown["depth"], shown["scheduled"], shown["running"], shown["paused"]) == (1, 1, 1, False)
    assert 89 < shown["oldest_age_seconds"] < 120
    problem(await client.get("/v1/queues/none", headers=admin), 404, "not_found")


async def test_a_queue_is_paused_and_resumed(
    client: httpx.AsyncClient, worker: FakeWorker, admin: dict[str, str], doorbell: RecordingDoorbell
) -> None:
    assert (await client.post("/v1/queues/noop/pause", headers=admin)).json()["paused"] is True
    assert worker.rows("SELECT name, paused FROM queues") == [("noop", True)]
    assert (await submit(client))["status"] == "queued"
    doorbell.rings.clear()
    assert (await client.post("/v1/queues/noop/resume", headers=admin)).json()["paused"] is False
    assert doorbell.rings
    problem(await client.post("/v1/queues/none/pause", headers=admin), 404, "not_found")


async def test_health_names_each_dependency(client: httpx.AsyncClient) -> None:
    answer = await client.get("/health/ready")
    assert answer.status_code == 200
    body = answer.json()
    assert body["status"] == "ready"
    assert set(body["dependencies"]) == {"postgres", "redis", "storage", "vectors"}
    assert all(part["status"] == "up" and part["latency_ms"] >= 0 for part in body["dependencies"].values())


async def test_a_dependency_that_refuses_us_is_down(make_settings: Make) -> None:
    """A wrong key makes Qdrant's client raise an exception of its own."""

    def ping() -> None:
        raise UnexpectedResponse(401, "Unauthorized", b"wrong key", httpx.Headers())

    async with running(make_settings(qdrant_url="http://127.0.0.1:1")) as (app, client):
        app.state.services.__dict__["vectors"] = SimpleNamespace(ping=ping)
        answer = await client.get("/health/ready")
        assert (answer.status_code, answer.json()["status"]) == (200, "degraded")
        parts = answer.json()["dependencies"]
        assert (parts["vectors"]["status"], parts["vectors"]["error"]) == ("down", "UnexpectedResponse")
        assert (parts["postgres"]["status"], parts["postgres"]["error"]) == ("up", None)


async def test_the_reference_page_needs_no_other_server(client: httpx.AsyncClient) -> None:
    page = (await client.get("/docs")).text
    addresses = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert len(addresses) == 3
    for address in addresses:
        assert address.startswith("/docs/")
        assert (await client.get(address)).status_code == 200
    assert "'/openapi.json'" in page
    problem(await client.get("/docs/files/none.js"), 404, "not_found")
    problem(await client.get("/docs/files/../../api/app.py"), 404, "not_found")


async def test_metrics_count_requests_and_jobs(
    client: httpx.AsyncClient, worker: FakeWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api_metrics, "QUEUES_SECONDS", 0.0)
    monkeypatch.setattr(api_metrics, "ENDED_SECONDS", 0.0)
    jobs = [await submit(client) for _ in range(3)]
    worker.finish(jobs[0]["id"], output={})
    await client.get(f"/v1/jobs/{jobs[1]['id']}")
    await client.get("/nowhere/at/all")
    before = await _samples(client)
    assert before["darkroom_jobs", "noop", "queued"] == 2
    assert before["darkroom_jobs", "noop", "succeeded"] == 1
    assert before["darkroom_queue_depth", "noop"] == 2
    assert before["darkroom_http_request_seconds_count", "POST", "/v1/noop", "202"] == 3
    assert before["darkroom_http_request_seconds_count", "GET", "/v1/jobs/{job_id}", "200"] == 1
    assert before["darkroom_http_request_seconds_count", "GET", "unmatched", "404"] == 1
    for job in jobs[1:]:
        worker.finish(job["id"], "failed")
    after = await _samples(client)
    assert after["darkroom_jobs", "noop", "queued"] == 0
    assert after["darkroom_queue_depth", "noop"] == 0
    assert after["darkroom_jobs", "noop", "failed"] == 2


async def _samples(client: httpx.AsyncClient) -> dict[tuple[str, ...], float]:
    answer = await client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


@pytest.fixture
def command(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    monkeypatch.setenv("DARKROOM_DATABASE_URL", postgres_url)
    monkeypatch.setenv("DARKROOM_SECRET_KEY", SERVER_KEY)
    return lambda *words: CliRunner().invoke(keys_command, list(words))


async def test_the_verb_makes_lists_and_revokes_keys(client: httpx.AsyncClient, command: Callable[..., Any]) -> None:
    made = json.loads(
        command("create", "--tenant", "acme", "--scopes", "jobs:read", "--expires-in", "12h", "--json").stdout
    )
    headers = {"Authorization": f"Bearer {made['token']}"}
    assert (await client.get("/v1/jobs", headers=headers)).status_code == 200
    assert made["expires_at"] is not None
    assert command("create").stdout.startswith("dr_")
    listed = json.loads(command("list", "--tenant", "acme", "--json").stdout)
    assert [key["id"] for key in listed] == [made["id"]]
    assert made["token"] not in command("list").stdout
    assert "revoked" in command("revoke", made["token"]).stdout
    assert "revoked" in command("list", "--tenant", "acme").stdout


def test_the_verb_says_what_is_wrong(command: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    assert "all" in str(command("create", "--scopes", "all").exception)
    assert "duration" in str(command("create", "--expires-in", "soon").exception)
    assert "no key" in str(command("revoke", "x").exception)
    monkeypatch.setenv("DARKROOM_DATABASE_URL", "postgresql://darkroom@/darkroom?host=/nowhere")
    assert "DARKROOM_DATABASE_URL" in str(command("list").exception)
