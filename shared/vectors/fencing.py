"""Postgres as the fence round a write: the rows of the job and of the collection are held meanwhile.

So no other attempt can take the job over, and who deletes the collection waits, and then drops what was written.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg_pool import ConnectionPool, PoolClosed, PoolTimeout

from shared.errors import DependencyUnavailable, ErrorCode, LeaseLost, PermanentJobError
from shared.vectors.protocol import CollectionRef, Fence


@contextmanager
def postgres_reachable() -> Iterator[None]:
    """Turn what psycopg raises for a Postgres that is away into DependencyUnavailable."""
    try:
        yield
    except (psycopg.OperationalError, psycopg.InterfaceError, PoolTimeout, PoolClosed) as error:
        raise DependencyUnavailable(f"Postgres does not answer: {error}") from error


def hold(connection: psycopg.Connection[Any], fence: Fence, collection: CollectionRef) -> None:
    """Keep the job from being taken over, and the collection from being deleted, until the transaction ends.

    The weakest of row locks: it holds off those who take jobs over, as they lock `FOR UPDATE SKIP LOCKED`, and lets
    the plain updates of a heartbeat and of a cancel pass. Raises LeaseLost when the attempt no longer owns the job,
    PermanentJobError (`collection_unknown`) when the collection is gone.
    """
    owned = connection.execute(
        "SELECT 1 FROM jobs WHERE id = %s AND attempt = %s AND state = 'running' FOR KEY SHARE",
        (fence.job_id, fence.attempt),
        prepare=False,
    )
    if owned.fetchone() is None:
        raise LeaseLost(f"attempt {fence.attempt} no longer owns job {fence.job_id}")
    there = connection.execute(
        "SELECT 1 FROM collections WHERE vectors_id = %s AND deleted_at IS NULL FOR KEY SHARE",
        (collection.id,),
        prepare=False,
    )
    if there.fetchone() is None:
        raise collection_gone()


@contextmanager
def held(pool: ConnectionPool[Any], fence: Fence, collection: CollectionRef) -> Iterator[None]:
    """`hold` while a store other than Postgres is written to. Raises DependencyUnavailable too."""
    with postgres_reachable(), pool.connection() as connection, connection.transaction():
        hold(connection, fence, collection)
        yield


def collection_gone() -> PermanentJobError:
    """The collection was deleted after the job had begun."""
    return PermanentJobError(
        ErrorCode.COLLECTION_UNKNOWN,
        "The collection was deleted while this job wrote into it. Submit the job again to make the collection anew.",
    )
