"""Connections of the synchronous processes (workers, sweeper, command line): psycopg 3, autocommit."""

from collections.abc import Callable
from typing import Any, TypeVar

import psycopg
from psycopg_pool import ConnectionPool

Connection = psycopg.Connection[Any]
Pool = ConnectionPool[Connection]
T = TypeVar("T")

# A server that vanished without a word is noticed within seconds, not when the kernel gives up a quarter hour later.
_OPTIONS: dict[str, Any] = {
    "autocommit": True,
    "connect_timeout": 3,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
}


def connect(url: str) -> Connection:
    """One connection that its owner keeps to itself."""
    return psycopg.connect(url, **_OPTIONS)


def open_pool(url: str, *, max_size: int = 4) -> Pool:
    """A pool that opens lazily, so that a process starts with Postgres away and finds it when it is back."""
    return ConnectionPool(url, kwargs=_OPTIONS, min_size=0, max_size=max_size, timeout=5.0, max_idle=300.0, open=True)


def retry_once(pool: Pool, work: Callable[[Connection], T]) -> T:
    """Run one idempotent or fenced statement, a second time on a fresh connection if the first one was broken.

    Raises:
        psycopg.OperationalError: Postgres is away.
    """
    try:
        with pool.connection() as connection:
            return work(connection)
    except (psycopg.OperationalError, psycopg.InterfaceError):
        pool.check()
        with pool.connection() as connection:
            return work(connection)
