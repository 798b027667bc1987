"""The API's waiters: requests that stay until a job has ended.

One subscription a process. A message only says "look again": waiters re-read their row, so a message may be lost or
doubled, and while Redis is away they look by themselves.
"""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TypeVar

import redis.asyncio
import structlog
from redis.exceptions import RedisError

from shared.jobs.completions import CHANNEL, encode

log = structlog.get_logger(__name__)

T = TypeVar("T")

LOOK_SECONDS = 5.0
"""A waiter re-reads its row this often even when it hears nothing: a message may have been lost."""
POLL_SECONDS = (0.1, 1.0)
"""First and longest pause between two looks while Redis is away."""
_RECONNECT_SECONDS = (0.2, 5.0)


class WaiterHub:
    """Wakes those who wait for jobs of this process."""

    def __init__(self, redis_url: str) -> None:
        self._client = redis.asyncio.Redis.from_url(
            redis_url, socket_timeout=10.0, socket_connect_timeout=2.0, health_check_interval=0
        )
        self._publisher = redis.asyncio.Redis.from_url(redis_url, socket_timeout=1.0, socket_connect_timeout=1.0)
        self._waiters: dict[str, set[asyncio.Event]] = {}
        self._connected = False
        self._closing = False
        self._task: asyncio.Task[None] | None = None

    @property
    def connected(self) -> bool:
        return self._connected

    def start(self) -> None:
        self._task = asyncio.create_task(self._listen(), name="completions")

    def release(self) -> None:
        """Let every waiter go with what it has: the process is about to end."""
        self._closing = True
        self._wake_all()

    async def close(self) -> None:
        self.release()
        while self._task is not None and not self._task.done():
            self._task.cancel()  # again and again: redis-py swallows one that comes at the wrong moment
            await asyncio.wait({self._task}, timeout=0.1)
        for client in (self._client, self._publisher):
            with suppress(RedisError, OSError):
                await client.aclose()

    async def ping(self) -> None:
        """Raises RedisError or OSError when Redis is away."""
        await self._publisher.ping()

    async def announce(self, job_ids: Iterable[uuid.UUID]) -> None:
        """Tell every process's waiters that jobs have ended. Best effort: waiters look by themselves in the end."""
        message = encode(job_ids)
        self._wake(message)
        try:
            await self._publisher.publish(CHANNEL, message)
        except (RedisError, OSError) as error:
            log.warning("completion_not_published", error=type(error).__name__)

    @contextmanager
    def watch(self, job_id: uuid.UUID) -> Iterator[asyncio.Event]:
        """An event that is set whenever there may be news of the job."""
        event = asyncio.Event()
        key = str(job_id)
        self._waiters.setdefault(key, set()).add(event)
        try:
            yield event
        finally:
            waiters = self._waiters[key]
            waiters.discard(event)
            if not waiters:
                del self._waiters[key]

    async def wait(
        self, event: asyncio.Event, look: Callable[[], Awaitable[T]], ended: Callable[[T], bool], seconds: float
    ) -> T:
        """Look at a job whenever there may be news, until it has ended or so many seconds are over.

        Answers what was seen last. The event is the one that `watch` gave; set it for a look at once.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        pause = POLL_SECONDS[0]
        while True:
            left = until - loop.time()
            if left > 0 and not self._closing:
                with suppress(TimeoutError):
                    await asyncio.wait_for(event.wait(), min(left, LOOK_SECONDS if self._connected else pause))
                pause = min(pause * 1.5, POLL_SECONDS[1])
            event.clear()
            seen = await look()
            if ended(seen) or self._closing or loop.time() >= until:
                return seen

    async def _listen(self) -> None:
        pause = _RECONNECT_SECONDS[0]
        while True:
            try:
                async with self._subscribed() as pubsub:
                    pause = _RECONNECT_SECONDS[0]
                    while True:
                        message = await pubsub.get_message(ignore_subscribe_messages=True, timeout=5.0)
                        if message is not None:
                            self._wake(message["data"].decode())
                        else:
                            await pubsub.ping()
            except (RedisError, OSError) as error:
                if self._connected:
                    log.warning("redis_away", error=type(error).__name__)
                self._connected = False
                self._wake_all()
                await asyncio.sleep(pause)
                pause = min(pause * 2, _RECONNECT_SECONDS[1])

    @asynccontextmanager
    async def _subscribed(self) -> AsyncIterator["redis.asyncio.client.PubSub"]:
        async with self._client.pubsub() as pubsub:
            await pubsub.subscribe(CHANNEL)
            self._connected = True
            self._wake_all()  # what ended before this subscription was heard by nobody
            yield pubsub

    def _wake(self, message: str) -> None:
        if not self._waiters:
            return
        for key in message.split(","):
            for event in self._waiters.get(key, ()):
                event.set()

    def _wake_all(self) -> None:
        for events in self._waiters.values():
            for event in events:
                event.set()
