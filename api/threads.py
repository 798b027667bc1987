"""Calls that block (the vector store, the management of keys and collections), in threads with pooled connections."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

from api.services import Services
from shared.database.pool import Connection, retry_once

T = TypeVar("T")


async def with_connection(services: Services, work: Callable[[Connection], T]) -> T:
    """Run one idempotent piece of work on a synchronous connection. Raises psycopg.OperationalError."""
    return await asyncio.to_thread(lambda: retry_once(services.pool, work))
