"""Telling those who wait that jobs have ended, over Redis pub/sub.

One message a finished batch, on one channel that every API process listens to: a waiter then re-reads its row, so a
message may be lost or doubled without harm, and with Redis away the waiters poll.
"""

import uuid
from collections.abc import Iterable

import redis
import structlog

log = structlog.get_logger(__name__)

CHANNEL = "darkroom:finished"
"""Messages are job ids, separated by commas."""


def encode(job_ids: Iterable[uuid.UUID]) -> str:
    return ",".join(str(job_id) for job_id in job_ids)


def decode(message: str | bytes) -> list[uuid.UUID]:
    text = message.decode() if isinstance(message, bytes) else message
    return [uuid.UUID(part) for part in text.split(",") if part]


class CompletionPublisher:
    """Publishes from a worker or the sweeper; gives up quickly, and never fails its caller."""

    def __init__(self, redis_url: str) -> None:
        self._client = redis.Redis.from_url(redis_url, socket_timeout=1.0, socket_connect_timeout=1.0)

    def publish(self, job_ids: Iterable[uuid.UUID]) -> None:
        message = encode(job_ids)
        if not message:
            return
        try:
            self._client.publish(CHANNEL, message)
        except redis.RedisError as error:
            log.warning("completion_not_published", error=type(error).__name__)

    def close(self) -> None:
        self._client.close()
