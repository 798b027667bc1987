"""Postgres or Valkey away: 503 and back by itself, or no loss at all. And the process, started and stopped."""

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psycopg
import pytest

from local import postgres
from local.sockets import free_port
from shared.database import migrate
from shared.database.asynchronous import Database
from tests.integration.api.conftest import ROOT, SERVER_KEY, FakeWorker, Make, running, submit
from tests.integration.api.test_refusals import problem

GONE = "postgresql://darkroom@/darkroom?host=/nowhere"


async def test_postgres_away_is_503_with_retry_after(make_settings: Make) -> None:
    async with running(make_settings(database_url=GONE)) as (_, client):
        answer = await client.post("/v1/noop", json={"input": {}})
        problem(answer, 503, "unavailable")
        assert int(answer.headers["retry-after"]) > 0
        for path in ("/v1/jobs", "/v1/collections"):
            problem(await client.get(path), 503, "unavailable")
        assert (await client.get("/health/live")).status_code == 200
        ready = await client.get("/health/ready")
        assert (ready.status_code, ready.json()["status"]) == (503, "unavailable")
        assert ready.json()["dependencies"]["postgres"]["status"] == "down"
        assert (await client.get("/metrics")).status_code == 200


async def test_broken_connections_cost_nothing(client: httpx.AsyncClient, worker: FakeWorker) -> None:
    """All of the API's connections are ended again and again, while it submits: every 202 is a row, and no other."""
    accepted: set[str] = set()
    refused = 0
    ending = True

    async def end_connections() -> None:
        while ending:
            worker.rows(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE application_name = 'darkroom-api' AND datname = current_database()"
            )
            await asyncio.sleep(0.05)

    killer = asyncio.create_task(end_connections())
    until = time.monotonic() + 2
    while time.monotonic() < until:
        answers = await asyncio.gather(*(client.post("/v1/noop", json={"input": {}}) for _ in range(8)))
        accepted |= {answer.json()["id"] for answer in answers if answer.status_code == 202}
        refused += sum(answer.status_code == 503 for answer in answers)
        assert {answer.status_code for answer in answers} <= {202, 503}
    ending = False
    await killer
    rows = {str(id) for (id,) in worker.rows("SELECT id FROM jobs")}
    assert accepted <= rows
    assert len(rows) - len(accepted) <= refused
    assert len(accepted) > 20
    assert (await client.post("/v1/noop", json={"input": {}})).status_code == 202


async def test_a_restarted_postgres_is_found_again(make_settings: Make, tmp_path: Path) -> None:
    folder = tmp_path / "stopped"
    folder.mkdir()
    with postgres.running(folder, durable=False) as server:
        url = server.url()
        migrate.upgrade(url)
        async with running(make_settings(database_url=url)) as (_, client):
            job = await submit(client)
            _stop(server)
            problem(await client.get(f"/v1/jobs/{job['id']}"), 503, "unavailable")
            problem(await client.post("/v1/noop", json={"input": {}}), 503, "unavailable")
            with postgres.running(folder, durable=False):
                assert (await client.get(f"/v1/jobs/{job['id']}")).status_code == 200
                assert (await client.post("/v1/noop", json={"input": {}})).status_code == 202
                assert (await client.get("/health/ready")).status_code == 200


def _stop(server: postgres.Postgres) -> None:
    lock = server.data / "postmaster.pid"
    os.kill(int(lock.read_text().split("\n", 1)[0]), signal.SIGINT)
    until = time.monotonic() + 20
    while lock.exists() and time.monotonic() < until:
        time.sleep(0.05)


async def test_a_frozen_statement_does_not_hang_for_ever(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from shared.database import asynchronous
    from shared.errors import DependencyUnavailable

    monkeypatch.setattr(asynchronous, "STATEMENT_SECONDS", 0.3)
    database = Database(postgres_url, size=1)
    await database.open()
    with pytest.raises(DependencyUnavailable):
        await database.fetchrow("SELECT pg_sleep(30)")
    assert (await database.fetchrow("SELECT 1"))[0] == 1
    await database.close()


async def test_valkey_away_still_accepts_jobs(make_settings: Make, worker: FakeWorker) -> None:
    async with running(make_settings(redis_url="redis://127.0.0.1:1/0")) as (_, client):
        job = await submit(client)
        assert worker.rows("SELECT state FROM jobs WHERE id = %s", job["id"]) == [("queued",)]
        assert (await client.post(f"/v1/jobs/{job['id']}/cancel")).json()["status"] == "canceled"
        ready = await client.get("/health/ready")
        assert (ready.status_code, ready.json()["status"]) == (200, "degraded")
        assert ready.json()["dependencies"]["redis"]["status"] == "down"


@pytest.fixture
def process(postgres_url: str, redis_url: str, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], str, Path]]:
    """`python -m api` as it really runs: the process, its address, its log."""
    port, log = free_port(), tmp_path / "api.log"
    environment = os.environ | {
        "DARKROOM_DATABASE_URL": postgres_url,
        "DARKROOM_REDIS_URL": redis_url,
        "DARKROOM_SECRET_KEY": SERVER_KEY,
        "DARKROOM_HOME": str(tmp_path),
        "DARKROOM_PORT": str(port),
        "DARKROOM_ENABLE_NOOP": "true",
        "DARKROOM_ANONYMOUS_ACCESS": "true",
    }
    with log.open("wb") as file:
        started = subprocess.Popen([sys.executable, "-m", "api"], cwd=ROOT, env=environment, stderr=file)
    yield started, f"http://127.0.0.1:{port}", log
    started.kill()
    started.wait()


async def test_the_process_starts_small_and_stops_gracefully(
    process: tuple[subprocess.Popen[bytes], str, Path], postgres_url: str
) -> None:
    started, url, log = process
    async with httpx.AsyncClient(base_url=url, timeout=10) as client:
        await _live(client)
        assert _resident_bytes(started.pid) < 200_000_000
        waiting = asyncio.create_task(client.post("/v1/noop", json={"input": {}}, headers={"Prefer": "wait=60"}))
        await asyncio.sleep(0.5)
        started.send_signal(signal.SIGTERM)
        answer = await asyncio.wait_for(waiting, 5)
    assert answer.status_code == 202
    assert await asyncio.to_thread(started.wait, 10) in (0, -signal.SIGTERM)
    with psycopg.connect(postgres_url) as connection:
        assert connection.execute("SELECT count(*) FROM jobs").fetchone() == (1,)
    text = log.read_text()
    assert answer.headers["x-request-id"] in text
    assert "Traceback" not in text


def _resident_bytes(pid: int) -> int:
    """Zero where the system does not tell."""
    status = Path(f"/proc/{pid}/status")
    found = re.search(r"VmRSS:\s+(\d+) kB", status.read_text()) if status.exists() else None
    return int(found[1]) * 1024 if found else 0


async def _live(client: httpx.AsyncClient) -> None:
    for _ in range(200):
        try:
            if (await client.get("/health/live")).status_code == 200:
                return
        except httpx.TransportError:
            await asyncio.sleep(0.05)
    raise AssertionError("the API did not start")


def test_default_secrets_are_refused_with_the_fix(tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "DARKROOM_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "api"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "DARKROOM_SECRET_KEY" in done.stderr
    assert "Traceback" not in done.stderr
