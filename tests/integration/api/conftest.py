"""An API over a real Postgres and Valkey, in this process; keys, a fake worker, and a doorbell that only listens."""

import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import orjson
import psycopg
import pytest
from fastapi import FastAPI
from pydantic import SecretStr

from api.app import create_app
from shared import keys
from shared.jobs.completions import CompletionPublisher
from shared.settings import ApiSettings

SERVER_KEY = "a-test-key-that-is-long-enough-for-the-check"
ROOT = Path(__file__).parents[3]
Make = Callable[..., ApiSettings]


class RecordingDoorbell:
    """Hears every ring and wakes nobody."""

    def __init__(self) -> None:
        self.rings: list[tuple[str, uuid.UUID | None, int, bool]] = []

    def ring(self, queue: str, job_id: uuid.UUID | None = None, *, times: int = 1, merge: bool = True) -> None:
        self.rings.append((queue, job_id, times, merge))

    def close(self) -> None:
        return


class FakeWorker:
    """Ends jobs as a worker would: the row first, then the announcement."""

    def __init__(self, database_url: str, redis_url: str) -> None:
        self.connection = psycopg.connect(database_url, autocommit=True)
        self._publisher = CompletionPublisher(redis_url)

    def run(self, job_id: str) -> None:
        self.connection.execute(
            "UPDATE jobs SET state = 'running', attempt = attempt + 1, started_at = now(), "
            "lease_until = now() + interval '1 min' WHERE id = %s",
            (job_id,),
        )

    def finish(self, job_id: str, state: str = "succeeded", output: Any = None, output_key: str | None = None) -> None:
        error = {"code": "internal", "message": "It broke.", "attempt": 1, "retryable": False}
        self.connection.execute(
            "UPDATE jobs SET state = %s, output = %s, output_key = %s, error = %s, completed_at = now(), "
            "started_at = COALESCE(started_at, now()), lease_until = NULL WHERE id = %s",
            (
                state,
                None if output is None else orjson.dumps(output).decode(),
                output_key,
                orjson.dumps(error).decode() if state == "failed" else None,
                job_id,
            ),
        )
        self._publisher.publish([uuid.UUID(job_id)])

    def rows(self, statement: str, *arguments: Any) -> list[Any]:
        return self.connection.execute(statement, arguments).fetchall()

    def close(self) -> None:
        self.connection.close()
        self._publisher.close()


@pytest.fixture
def make_settings(postgres_url: str, redis_url: str, tmp_path: Path) -> Make:
    def make(**changes: Any) -> ApiSettings:
        values: dict[str, Any] = {
            "home": tmp_path,
            "secret_key": SecretStr(SERVER_KEY),
            "database_url": postgres_url,
            "redis_url": redis_url,
            "models_file": ROOT / "models.toml",
            "enable_noop": True,
            "anonymous_access": True,
        }
        return ApiSettings(**(values | changes))

    return make


@asynccontextmanager
async def running(settings: ApiSettings) -> AsyncIterator[tuple[FastAPI, httpx.AsyncClient]]:
    """The application, started, and a client that talks to it without a socket."""
    app = create_app(settings)
    app.state.services.__dict__["doorbell"] = RecordingDoorbell()
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://darkroom.test") as client:
            yield app, client


@pytest.fixture
async def app_and_client(make_settings: Make) -> AsyncIterator[tuple[FastAPI, httpx.AsyncClient]]:
    async with running(make_settings()) as pair:
        yield pair


@pytest.fixture
def app(app_and_client: tuple[FastAPI, httpx.AsyncClient]) -> FastAPI:
    return app_and_client[0]


@pytest.fixture
def client(app_and_client: tuple[FastAPI, httpx.AsyncClient]) -> httpx.AsyncClient:
    return app_and_client[1]


@pytest.fixture
def doorbell(app: FastAPI) -> RecordingDoorbell:
    bell: RecordingDoorbell = app.state.services.doorbell
    return bell


@pytest.fixture
def worker(postgres_url: str, redis_url: str) -> Any:
    fake = FakeWorker(postgres_url, redis_url)
    yield fake
    fake.close()


@pytest.fixture
def make_key(postgres_url: str) -> Callable[..., str]:
    """Call it for the Authorization header of a new key."""

    def make(*scopes: str, tenant: str = "acme", expires_in: float | None = None) -> str:
        with psycopg.connect(postgres_url, autocommit=True) as connection:
            made = keys.create(
                connection,
                SERVER_KEY,
                tenant=tenant,
                scopes=list(scopes) or ["jobs:write", "jobs:read"],
                expires_in=expires_in,
            )
        return f"Bearer {made.token}"

    return make


async def submit(client: httpx.AsyncClient, **body: Any) -> dict[str, Any]:
    """Submit a no-op, and answer the job."""
    answer = await client.post("/v1/noop", json={"input": {}} | body)
    assert answer.status_code == 202, answer.text
    job: dict[str, Any] = answer.json()
    return job
