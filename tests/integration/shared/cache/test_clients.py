"""Both clients on a real Valkey, and on a server that takes connections and says nothing."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis

from shared.cache.breaker import Breaker
from shared.cache.clients import AsyncCache, Cache, NoCache
from shared.cache.entries import MAX_ENTRY_BYTES, PREFIX

ONE, TWO = f"{PREFIX}test:1", f"{PREFIX}test:2"


class Tarpit:
    """Counts connections and never answers."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self._socket.getsockname()[1]}/0"
        self.attempts = 0
        self._held: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.attempts += 1
            self._held.append(connection)

    def close(self) -> None:
        self._socket.close()
        for connection in self._held:
            connection.close()


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def tarpit() -> Iterator[Tarpit]:
    tarpit = Tarpit()
    yield tarpit
    tarpit.close()


def test_what_was_put_is_there_for_both(empty_redis_url: str) -> None:
    cache = Cache(empty_redis_url, 60)
    cache.put_many({ONE: b"one", TWO: b""})
    assert cache.get_many([TWO, "other", ONE]) == [b"", None, b"one"]
    cache.close()

    async def read() -> list[bytes | None] | None:
        asynchronous = AsyncCache(empty_redis_url, 60)
        try:
            return await asynchronous.get_many([TWO, "other", ONE])
        finally:
            await asynchronous.close()

    assert asyncio.run(read()) == [b"", None, b"one"]


def test_what_is_too_large_is_left_out(empty_redis_url: str) -> None:
    cache = Cache(empty_redis_url, 60)
    cache.put_many({ONE: bytes(MAX_ENTRY_BYTES), TWO: bytes(MAX_ENTRY_BYTES + 1)})
    assert [content is not None for content in cache.get_many([ONE, TWO])] == [True, False]


def test_other_types_and_garbled_values_are_unknown(empty_redis_url: str) -> None:
    cache = Cache(empty_redis_url, 60)
    with redis.Redis.from_url(empty_redis_url) as client:
        client.lpush(ONE, "x")
        client.set(TWO, b"\xff\xfe")
    assert cache.get_many([ONE, TWO]) == [None, None]
    cache.put_many({ONE: b"new"})
    assert cache.get_many([ONE]) == [b"new"]


def test_a_wrong_password_is_a_cache_that_is_away(redis_url: str) -> None:
    cache = Cache(redis_url.replace("redis://:", "redis://:not"), 60)
    cache.put_many({ONE: b"x"})
    assert cache.get_many([ONE]) == [None]


def test_nothing_is_kept_for_zero_seconds(tarpit: Tarpit) -> None:
    for cache in (Cache(tarpit.url, 0), NoCache()):
        cache.put_many({ONE: b"x"})
        assert cache.get_many([ONE]) == [None]
        assert not cache.enabled
    assert tarpit.attempts == 0


def test_workers_ask_a_silent_server_once_a_pause(tarpit: Tarpit) -> None:
    clock = Clock()
    cache = Cache(tarpit.url, 60, breaker=Breaker(2.0, clock))
    for _ in range(2):
        before = tarpit.attempts
        assert cache.get_many([ONE]) == [None]
        for _ in range(50):
            cache.put_many({ONE: b"x"})
            assert cache.get_many([ONE]) == [None]
        assert tarpit.attempts == before + 1
        clock.now += 2.1
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(cache.get_many, [[ONE]] * 8)) == [[None]] * 8
    assert tarpit.attempts == 3


async def test_the_api_asks_a_silent_server_once_a_pause(tarpit: Tarpit) -> None:
    clock = Clock()
    cache = AsyncCache(tarpit.url, 60, breaker=Breaker(2.0, clock))
    assert await cache.get_many([ONE]) is None
    assert [await cache.get_many([ONE]) for _ in range(50)] == [None] * 50
    assert tarpit.attempts == 1
    clock.now += 2.1
    assert await asyncio.gather(*(cache.get_many([ONE]) for _ in range(50))) == [None] * 50
    assert tarpit.attempts == 2
    await cache.close()
