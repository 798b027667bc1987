"""The jobs of a measured stack: hearing of their ends, and making sure that they were good ones."""

import time
from typing import Any

import redis

from shared.database.pool import connect
from shared.jobs.completions import CHANNEL

_STATES = "SELECT state, count(*) FROM jobs GROUP BY state"


class Unfinished(Exception):
    """Jobs that should have succeeded did not."""


class Completions:
    """Counts jobs that end. It listens to what workers publish: asking Postgres all the time would slow them down."""

    def __init__(self, redis_url: str) -> None:
        client: Any = redis.Redis.from_url(redis_url)  # its pub/sub has no types
        self._client = client
        self._pubsub = client.pubsub()
        self._pubsub.subscribe(CHANNEL)
        self._pubsub.get_message(timeout=5.0)  # the confirmation

    def wait_for(self, jobs: int, *, seconds: float = 600.0) -> None:
        """Return when so many jobs have ended since the last call."""
        until = time.monotonic() + seconds
        while jobs > 0:
            message = self._pubsub.get_message(timeout=1.0)
            if message is not None:
                jobs -= message["data"].count(b",") + 1
            elif time.monotonic() > until:
                raise Unfinished(f"{jobs} jobs had not ended after {seconds:.0f} s")

    def close(self) -> None:
        self._pubsub.close()
        self._client.close()


class Rows:
    """The `jobs` table of one database."""

    def __init__(self, url: str) -> None:
        self.connection = connect(url)

    def check_all_succeeded(self) -> None:
        """A figure made of failed jobs would be worth nothing."""
        states = dict(self.connection.execute(_STATES).fetchall())
        if set(states) - {"succeeded"}:
            raise Unfinished(f"not every job succeeded: {states}")

    def vacuum(self) -> None:
        """Between rounds, so that none pays for another's dead rows."""
        self.connection.execute("VACUUM (ANALYZE) jobs")

    def close(self) -> None:
        self.connection.close()
