"""Postgres as the fence round a write: the rows of the job and of the collection are held meanwhile.

So no other attempt can take the job over, and who deletes the collection waits, and then drops what was written.

After a write the collection's version moves. Every write locks in one order: the job (KEY SHARE), the collection (KEY
SHARE), its items by id, and last the collection once more, to update it. No deadlock follows. Who waits for an item
holds items of lower ids only. Who has come to the last lock waits for others that have come there too, and those wait
for nothing more: KEY SHARE stands in no update's way. And who deletes the collection, or takes its vectors' id away,
has to wait for every KEY SHARE first, while whoever has one is let past them in the row's queue. That is why a write
without a fence takes it as well.
"""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg_pool import ConnectionPool, PoolClosed, PoolTimeout

from shared.errors import DependencyUnavailable, ErrorCode, LeaseLost, PermanentJobError, PostponedJobError
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
    the plain updates of a heartbeat and of a cancel pass. What the job itself builds (`build_id`) is its own, and no
    collection yet.

    Raises:
        LeaseLost: the attempt no longer owns the job.
        PostponedJobError: other vectors have taken the place of these; the next attempt finds them.
        PermanentJobError: the collection is gone (`collection_unknown`).
    """
    hold_job(connection, fence)
    if collection.id == build_id(fence.job_id) or hold_collection(connection, collection):
        return
    replaced = connection.execute(
        "SELECT 1 FROM discarded_vectors WHERE vectors_id = %s", (collection.id,), prepare=False
    )
    raise collection_gone() if replaced.fetchone() is None else vectors_replaced()


def hold_job(connection: psycopg.Connection[Any], fence: Fence) -> None:
    """Keep the job from being taken over until the transaction ends. Raises LeaseLost."""
    owned = connection.execute(
        "SELECT 1 FROM jobs WHERE id = %s AND attempt = %s AND state = 'running' FOR KEY SHARE",
        (fence.job_id, fence.attempt),
        prepare=False,
    )
    if owned.fetchone() is None:
        raise LeaseLost(f"attempt {fence.attempt} no longer owns job {fence.job_id}")


def build_id(job_id: uuid.UUID) -> uuid.UUID:
    """The id of the vectors that a job makes for a collection, the same for each of its attempts."""
    return uuid.uuid5(job_id, "vectors")


def hold_collection(connection: psycopg.Connection[Any], collection: CollectionRef) -> bool:
    """Keep the collection from being deleted until the transaction ends. False: there is none to keep."""
    there = connection.execute(
        "SELECT 1 FROM collections WHERE vectors_id = %s AND deleted_at IS NULL FOR KEY SHARE",
        (collection.id,),
        prepare=False,
    )
    return there.fetchone() is not None


def move_version(connection: psycopg.Connection[Any], collection: CollectionRef) -> None:
    """Say that the collection was written to: what was computed from it before is old now. The last statement of a
    write: from here on all other writers of the collection wait for its end.
    """
    connection.execute(
        "UPDATE collections SET version = version + 1 WHERE vectors_id = %s", (collection.id,), prepare=False
    )


def move_touches(connection: psycopg.Connection[Any], collection: CollectionRef) -> None:
    """Say that items were confirmed, which makes nothing old: whoever copies the collection has to look again. The last
    statement of it, as `move_version` is of a write.
    """
    connection.execute(
        "UPDATE collections SET touches = touches + 1 WHERE vectors_id = %s", (collection.id,), prepare=False
    )


class Fencing:
    """What a store other than Postgres does round its writes."""

    def __init__(self, pool: ConnectionPool[Any]) -> None:
        self._pool = pool

    @contextmanager
    def held(self, collection: CollectionRef, fence: Fence | None) -> Iterator[None]:
        """`hold` while the block runs; without a fence, nothing. Raises DependencyUnavailable too."""
        if fence is None:
            yield
            return
        with postgres_reachable(), self._pool.connection() as connection, connection.transaction():
            hold(connection, fence, collection)
            yield

    @contextmanager
    def writing(self, collection: CollectionRef, fence: Fence | None) -> Iterator[None]:
        """`hold` while the block runs (without a fence, the collection alone is kept), and then its version moves,
        even when the block failed: it may have written a part. Raises DependencyUnavailable too.

        Only after the write: a search between the two would keep what it found before the write as new. And before the
        collection is let go of: who waits for its writers may trust the version then.
        """
        failure: BaseException | None = None
        with postgres_reachable(), self._pool.connection() as connection, connection.transaction():
            if fence is None:
                hold_collection(connection, collection)
            else:
                hold(connection, fence, collection)
            try:
                yield
            except BaseException as error:  # noqa: BLE001 - raised below, once the transaction has been committed
                failure = error
            move_version(connection, collection)
        if failure is not None:
            raise failure

    def move_version(self, collection: CollectionRef) -> None:
        """`move_version`, in a transaction of its own."""
        with postgres_reachable(), self._pool.connection() as connection:
            move_version(connection, collection)

    def move_touches(self, collection: CollectionRef) -> None:
        """`move_touches`, in a transaction of its own."""
        with postgres_reachable(), self._pool.connection() as connection:
            move_touches(connection, collection)


def collection_gone() -> PermanentJobError:
    """The collection was deleted after the job had begun."""
    return PermanentJobError(
        ErrorCode.COLLECTION_UNKNOWN,
        "The collection was deleted while this job wrote into it. Submit the job again to make the collection anew.",
    )


def vectors_replaced() -> PostponedJobError:
    """The collection was embedded anew after the job had begun."""
    return PostponedJobError(
        ErrorCode.INTERNAL,
        "The collection was embedded anew while this job wrote into it; the job writes into the new vectors.",
    )
