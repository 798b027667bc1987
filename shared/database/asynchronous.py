"""Connections of the API: asyncpg, a pool that opens lazily and survives Postgres going away and coming back."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Protocol

import asyncpg

from shared.errors import DependencyUnavailable

ACQUIRE_SECONDS = 5.0
STATEMENT_SECONDS = 15.0
CONNECT_SECONDS = 3.0

CONNECTION_LOST: tuple[type[BaseException], ...] = (
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.IdleSessionTimeoutError,
    asyncpg.InsufficientResourcesError,
    asyncpg.ReadOnlySQLTransactionError,
    ConnectionError,
    OSError,
    TimeoutError,
    asyncio.IncompleteReadError,
)
"""What asyncpg raises when Postgres is away, restarting, a standby, or out of connections, memory or disk."""

Row = Any
"""An `asyncpg.Record`: values by name and by position."""


class Connection(Protocol):
    """The part of an asyncpg connection that repositories use."""

    async def fetch(self, statement: str, *arguments: Any) -> list[Row]: ...

    async def fetchrow(self, statement: str, *arguments: Any) -> Row | None: ...

    async def execute(self, statement: str, *arguments: Any) -> str: ...


class Database:
    """Single statements, and transactions, over a pool.

    Every method raises DependencyUnavailable when Postgres is away. Nothing here uses session state, so a pooler in
    transaction mode may stand in front.
    """

    def __init__(self, url: str, *, size: int) -> None:
        self._url = url
        self._size = size
        self._pool: Any = None

    async def open(self) -> None:
        """Make the pool. Connects nowhere yet: a process starts with Postgres away."""
        self._pool = await asyncpg.create_pool(
            self._url,
            min_size=0,
            max_size=self._size,
            timeout=CONNECT_SECONDS,
            command_timeout=STATEMENT_SECONDS,
            max_inactive_connection_lifetime=300.0,
            reset=_nothing,  # the default asks the server at every release, and there is no session state to reset
            server_settings={"application_name": "darkroom-api"},
        )

    async def close(self, seconds: float = 3.0) -> None:
        """Wait for what runs, at most so long, and close every connection."""
        if self._pool is None:
            return
        try:
            await asyncio.wait_for(self._pool.close(), seconds)
        except TimeoutError:
            self._pool.terminate()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        with unavailable():
            async with self._pool.acquire(timeout=ACQUIRE_SECONDS) as connection:
                yield connection

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """Committed when the block ends, rolled back when it raises."""
        with unavailable():
            async with self._pool.acquire(timeout=ACQUIRE_SECONDS) as connection, connection.transaction():
                yield connection

    async def fetch(self, statement: str, *arguments: Any) -> list[Row]:
        async with self.connection() as connection:
            return await connection.fetch(statement, *arguments)

    async def fetchrow(self, statement: str, *arguments: Any) -> Row | None:
        async with self.connection() as connection:
            return await connection.fetchrow(statement, *arguments)

    async def execute(self, statement: str, *arguments: Any) -> str:
        async with self.connection() as connection:
            return await connection.execute(statement, *arguments)


async def _nothing(connection: Any) -> None:
    return None


@contextmanager
def unavailable() -> Iterator[None]:
    """Turn what a lost connection raises into DependencyUnavailable."""
    try:
        yield
    except CONNECTION_LOST as error:
        if isinstance(error, ValueError):  # asyncpg's own check of an argument is an InterfaceError too
            raise
        raise DependencyUnavailable("Postgres does not answer at the moment.") from error
