"""The cache away, frozen or full: searches are answered by workers then, and nobody is refused or told what is old."""

import asyncio
import os
import re
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import redis

from local import valkey
from shared.database.pool import Pool, open_pool
from tests.integration.api.conftest import Make, running
from tests.integration.api.shop import Shop, ShopWorker, cached, found, worker_settings, write_models


class Server:
    """A Valkey of the test's own that only the cache uses."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.client = redis.Redis.from_url(url)
        info = self.client.info("server")
        assert isinstance(info, dict)
        self.pid = int(info["process_id"])

    def send(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    folder = tmp_path / "own"
    folder.mkdir()
    with valkey.running(folder, durable=False) as running_server:
        server = Server(running_server.url)
        yield server
        server.client.close()
        server.send(signal.SIGCONT)


@pytest.fixture
def pool(postgres_url: str) -> Iterator[Pool]:
    with open_pool(postgres_url) as pool:
        yield pool


@pytest.fixture
async def shop(
    make_settings: Make, pool: Pool, postgres_url: str, redis_url: str, tmp_path: Path, server: Server
) -> AsyncIterator[Shop]:
    models = write_models(tmp_path)
    settings = worker_settings(postgres_url, redis_url, tmp_path, models, cache_url=server.url)
    worker = ShopWorker(pool, settings)
    async with running(make_settings(models_file=models, cache_url=server.url)) as (app, client):
        shop = Shop(app, client, worker)
        await shop.index(a="red", b="blue")
        yield shop
    worker.close()


async def test_a_frozen_cache_costs_nobody_an_answer(shop: Shop, server: Server) -> None:
    assert not cached(await shop.ask(text="red"))
    assert cached(await shop.ask(text="red"))
    server.send(signal.SIGSTOP)
    body = {"input": {"collection": "shoes", "text": "red"}}
    answers = await asyncio.gather(*(shop.post("/v1/search", body) for _ in range(5)))
    await shop.worker.run("search")
    jobs = [await shop.get(answer.json()["id"]) for answer in answers]
    assert not any(cached(job) for job in jobs)
    assert {tuple(found(job)) for job in jobs} == {("a", "b")}
    await shop.index(c="red")
    assert found(await shop.ask(text="red")) == ["a", "c", "b"]
    assert '{answer="away"}' in (await shop.client.get("/metrics")).text


async def test_what_the_cache_kept_while_it_was_away_is_not_found_when_it_is_back(shop: Shop, server: Server) -> None:
    await shop.ask(text="red")
    server.send(signal.SIGSTOP)
    await shop.index(c="red")
    server.send(signal.SIGCONT)
    job = await until_asked(shop)
    assert "c" in found(job)


async def until_asked(shop: Shop) -> dict[str, object]:
    """The first search that the cache was asked about again."""
    while True:
        before = misses(await metrics(shop))
        job = await shop.ask(text="red")
        if misses(await metrics(shop)) > before:
            return job


async def metrics(shop: Shop) -> str:
    return (await shop.client.get("/metrics")).text


def misses(text: str) -> float:
    counted = re.search(r'^darkroom_cache_lookups_total\{answer="miss"\} (\S+)$', text, re.MULTILINE)
    return float(counted.group(1)) if counted else 0.0


async def test_without_a_server_workers_answer(shop: Shop, server: Server) -> None:
    await shop.ask(text="red")
    server.send(signal.SIGKILL)
    for _ in range(3):
        job = await shop.ask(text="red")
        assert (cached(job), found(job)) == (False, ["a", "b"])


async def test_a_full_server_is_still_read_from(shop: Shop, server: Server) -> None:
    await shop.ask(text="red")
    server.client.config_set("maxmemory", "1")
    for _ in range(3):
        assert not cached(await shop.ask(text="blue"))
        assert cached(await shop.ask(text="red"))
    server.client.config_set("maxmemory", "0")
