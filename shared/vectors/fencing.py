"""Postgres as the fence round a write: the job's row is held, so that no other attempt can take it over meanwhile."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg_pool import ConnectionPool, PoolClosed, PoolTimeout

from shared.errors import DependencyUnavailable, LeaseLost
from shared.vectors.protocol import Fence


@contextmanager
def postgres_reachable() -> Iterator[None]:
    """Turn what psycopg raises for a Postgres that is away into DependencyUnavailable."""
    try:
        yield
    except (psycopg.OperationalError, psycopg.InterfaceError, PoolTimeout, PoolClosed) as error:
        raise DependencyUnavailable(f"Postgres does not answer: {error}") from error


def hold_job(connection: psycopg.Connection[Any], fence: Fence) -> None:
    """Keep the job from being taken over until the transaction ends.

    The weakest of row locks: it holds off those who take jobs over, as they lock `FOR UPDATE SKIP LOCKED`, and lets
    the plain updates of a heartbeat and of a cancel pass. Raises LeaseLost when the attempt no longer owns the job.
    """
    held = connection.execute(
        "SELECT 1 FROM jobs WHERE id = %s AND attempt = %s AND state = 'running' FOR KEY SHARE",
        (fence.job_id, fence.attempt),
        prepare=False,
    )
    if held.fetchone() is None:
        raise LeaseLost(f"attempt {fence.attempt} no longer owns job {fence.job_id}")


@contextmanager
def job_held(pool: ConnectionPool[Any], fence: Fence) -> Iterator[None]:
    """Hold the job while a store other than Postgres is written to. Raises LeaseLost, DependencyUnavailable."""
    with postgres_reachable(), pool.connection() as connection, connection.transaction():
        hold_job(connection, fence)
        yield
