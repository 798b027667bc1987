"""The cache itself: many entries at a time, with short timeouts, and never an error.

`Cache` serves workers (from any thread), `AsyncCache` the API. Both treat an entry that is not as it was written as
one that is not there, and let the server alone for a moment after it did not answer (`breaker.py`).
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import redis
import redis.asyncio
import structlog
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError
from redis.retry import Retry

from shared.cache.breaker import Breaker
from shared.cache.entries import MAX_ENTRY_BYTES, seal, unseal

log = structlog.get_logger(__name__)

ANSWER_SECONDS = 0.25
"""To connect, and to answer: working it out again takes no longer than a slow cache."""
_OPTIONS: dict[str, Any] = {"socket_timeout": ANSWER_SECONDS, "socket_connect_timeout": ANSWER_SECONDS}


class EntryCache(Protocol):
    """Entries by key, for a time. The contents are bytes."""

    @property
    def enabled(self) -> bool:
        """Whether anything is ever kept; where not, keys need not be worked out."""

    def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """The contents in the order of the keys, None for what is not known."""

    def put_many(self, entries: Mapping[str, bytes]) -> None:
        """Keep these; those over MAX_ENTRY_BYTES are left out."""


class Cache:
    """An `EntryCache` in Redis. Connects when it is first used: make it after a fork, or before."""

    def __init__(self, url: str, seconds: int, *, breaker: Breaker | None = None) -> None:
        """`seconds`: how long an entry is kept; 0: nothing is."""
        self.enabled = seconds > 0
        self._seconds = seconds
        self._breaker = breaker or Breaker()
        self._refusals = Breaker()
        """A server that takes nothing more (out of memory, read only) may still be read from."""
        self._client = redis.Redis.from_url(url, retry=Retry(NoBackoff(), 0), **_OPTIONS)

    def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        nothing: list[bytes | None] = [None] * len(keys)
        if not keys or not self.enabled or not self._breaker.permits():
            return nothing
        try:
            values: Any = self._client.mget(keys)
        except Exception as error:  # noqa: BLE001 - a cache costs nobody an answer
            _note_failure(self._breaker, error)
            return nothing
        _note_success(self._breaker)
        return [_content(key, value) for key, value in zip(keys, values, strict=True)]

    def put_many(self, entries: Mapping[str, bytes]) -> None:
        small = {key: content for key, content in entries.items() if len(content) <= MAX_ENTRY_BYTES}
        if not small or not self.enabled or not self._refusals.permits() or not self._breaker.permits():
            return
        try:
            with self._client.pipeline(transaction=False) as pipeline:
                for key, content in small.items():
                    pipeline.set(key, seal(key, content), ex=self._seconds)
                pipeline.execute()
        except ResponseError as error:
            _note_success(self._breaker)
            if self._refusals.failed():
                log.warning("cache_full", error=type(error).__name__, detail=str(error))
        except Exception as error:  # noqa: BLE001 - a cache costs nobody an answer
            _note_failure(self._breaker, error)
        else:
            _note_success(self._breaker)
            self._refusals.succeeded()

    def close(self) -> None:
        self._client.close()


class NoCache:
    """Keeps nothing."""

    enabled = False

    def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        return [None] * len(keys)

    def put_many(self, entries: Mapping[str, bytes]) -> None:
        return


class AsyncCache:
    """Reads what workers have kept."""

    def __init__(self, url: str, seconds: int, *, breaker: Breaker | None = None) -> None:
        self.enabled = seconds > 0
        self._breaker = breaker or Breaker()
        self._client = redis.asyncio.Redis.from_url(url, retry=AsyncRetry(NoBackoff(), 0), **_OPTIONS)

    async def get_many(self, keys: Sequence[str]) -> list[bytes | None] | None:
        """The contents in the order of the keys, None for what is not known; None for all while the cache is away."""
        if not keys or not self.enabled:
            return [None] * len(keys)
        if not self._breaker.permits():
            return None
        try:
            async with asyncio.timeout(2 * ANSWER_SECONDS):  # connecting and answering together
                values: Any = await self._client.mget(keys)
        except Exception as error:  # noqa: BLE001 - a cache costs nobody an answer
            _note_failure(self._breaker, error)
            return None
        _note_success(self._breaker)
        return [_content(key, value) for key, value in zip(keys, values, strict=True)]

    async def close(self) -> None:
        try:
            await self._client.aclose()
        except (RedisError, OSError):
            log.debug("cache_not_closed")


def _content(key: str, value: object) -> bytes | None:
    return unseal(key, value) if isinstance(value, bytes) else None


def _note_failure(breaker: Breaker, error: Exception) -> None:
    if breaker.failed():
        log.warning("cache_away", error=type(error).__name__, detail=str(error))


def _note_success(breaker: Breaker) -> None:
    if breaker.succeeded():
        log.info("cache_back")
