"""A small shop to search in: the API and a worker's executor over the same Postgres and Valkey, with fake models.

The handlers, stores, cache and notes of weights are the real ones; nothing runs unless a test says so.
"""

import asyncio
import base64
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI
from PIL import Image
from pydantic import SecretStr

from shared.contracts.registry import KINDS
from shared.database.pool import Pool, connect
from shared.settings import WorkerSettings
from tests.fakes.models import FakeEmbedder
from tests.integration.api.conftest import SERVER_KEY
from workers.executor import Executor, ExecutorSettings
from workers.handlers.registry import Handlers
from workers.heartbeat import Heartbeat
from workers.services import Embedders, Services, open_services

MODELS = """
[models.{alias}]
family = "open_clip"
source = "local-dir:weights-{alias}"
dimension = 16
image_size = 8
memory_bytes = 1000
default_for = {kinds}
"""
ALIASES = ("fake", "other")


def write_models(folder: Path) -> Path:
    """Two models, each with a folder of weights; the first is every kind's default."""
    for alias in ALIASES:
        weights = folder / f"weights-{alias}"
        weights.mkdir()
        (weights / "model.safetensors").write_bytes(alias.encode())
    kinds = {"fake": '["embed", "index", "search"]', "other": "[]"}
    path = folder / "models.toml"
    path.write_text("".join(MODELS.format(alias=alias, kinds=kinds[alias]) for alias in ALIASES))
    return path


class _FakeLeases:
    """Fake models in the place of loaded ones; what it says of weights is true of their files."""

    def __init__(self, real: Embedders) -> None:
        self._real = real
        self.registry = real.registry
        self.models = {spec.alias: FakeEmbedder(spec) for spec in real.registry}

    @contextmanager
    def lease(self, alias: str) -> Iterator[FakeEmbedder]:
        self.registry.get(alias)
        yield self.models[alias]

    def weights(self, alias: str) -> str:
        return self._real.weights(alias)


class _Nobody:
    def started(self, jobs: Any) -> None: ...

    def ended(self, outcomes: Any, run_seconds: float) -> None: ...


class ShopWorker:
    """One worker process, without Celery."""

    def __init__(self, pool: Pool, settings: WorkerSettings) -> None:
        services = open_services(settings, pool)
        self.leases = _FakeLeases(services.embedders)
        self.services: Services = replace(services, embedders=self.leases)
        self._heartbeat = Heartbeat(
            lambda: connect(settings.database_url),
            lease_seconds=30.0,
            drain_seconds=5.0,
            stop_grace_seconds=5.0,
            draining_for=lambda: None,
            abandon=lambda handles: None,
        )
        self._executor = Executor(
            worker="shop",
            pool=pool,
            kinds=KINDS,
            handlers=Handlers(),
            services=self.services,
            heartbeat=self._heartbeat,
            observer=_Nobody(),
            announce=lambda ids: None,
            ring=lambda queue: None,
            draining=lambda: False,
            settings=ExecutorSettings(30.0, 60.0, 3, 30, 2.0, 600.0),
        )

    @property
    def model(self) -> FakeEmbedder:
        return self.leases.models["fake"]

    async def run(self, *queues: str) -> None:
        """Everything that waits in these queues."""
        for queue in queues:
            await asyncio.to_thread(self._executor.wake, queue)

    def close(self) -> None:
        self._heartbeat.close()


@dataclass
class Shop:
    app: FastAPI
    client: httpx.AsyncClient
    worker: ShopWorker
    name: str = "shoes"
    headers: dict[str, str] | None = None

    async def post(self, path: str, body: Any, **headers: str) -> httpx.Response:
        return await self.client.post(path, json=body, headers={**(self.headers or {}), **headers})

    async def index(self, **colors: str) -> None:
        """Items of one color each, by id."""
        items = [{"id": id, "image": picture(color), "payload": {"color": color}} for id, color in colors.items()]
        answer = await self.post("/v1/index", {"input": {"collection": self.name, "items": items}})
        assert answer.status_code == 202, answer.text
        await self.worker.run("index")
        assert (await self.get(answer.json()["id"]))["status"] == "succeeded"

    async def get(self, job_id: str) -> dict[str, Any]:
        job: dict[str, Any] = (await self.client.get(f"/v1/jobs/{job_id}", headers=self.headers)).json()
        return job

    async def ask(self, **input: Any) -> dict[str, Any]:
        """A search, ended: by the API itself, or else by the worker."""
        answer = await self.post("/v1/search", {"input": {"collection": self.name, **input}})
        assert answer.status_code == 202, answer.text
        job: dict[str, Any] = answer.json()
        if job["status"] != "succeeded":
            assert not job["metrics"]["cached"]
            await self.worker.run("search")
            job = await self.get(job["id"])
        return job


def cached(job: dict[str, Any]) -> bool:
    assert job["status"] == "succeeded", job
    return bool(job["metrics"]["cached"])


def found(job: dict[str, Any]) -> list[str]:
    return [result["id"] for result in job["output"]["results"]]


def picture(color: str) -> str:
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16), color).save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def worker_settings(database_url: str, redis_url: str, home: Path, models: Path, **changes: Any) -> WorkerSettings:
    values: dict[str, Any] = {
        "home": home,
        "secret_key": SecretStr(SERVER_KEY),
        "database_url": database_url,
        "redis_url": redis_url,
        "models_file": models,
        "fetch_allow": ("127.0.0.1",),
    }
    return WorkerSettings(**(values | changes))
