"""The collection's version moves with every write, so that what was kept from before is not found any more."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from psycopg_pool import ConnectionPool

from shared.errors import DependencyUnavailable, LeaseLost
from shared.vectors.fencing import Fencing
from shared.vectors.filters import parse
from shared.vectors.pgvector import PgVectorStore
from shared.vectors.protocol import CollectionRef, Fence, Point, VectorStore

from .conftest import DIMENSION, add_collection, unit

Write = Callable[[VectorStore, CollectionRef, Fence], object]


def version_of(pool: ConnectionPool[Any], collection: CollectionRef) -> int:
    with pool.connection() as connection:
        query = "SELECT version FROM collections WHERE vectors_id = %s"
        row = connection.execute(query, (collection.id,)).fetchone()
    assert row is not None
    return int(row[0])


@pytest.mark.parametrize(
    "write",
    [
        lambda store, collection, fence: store.upsert(collection, [Point("a", unit(1), version=2)]),
        lambda store, collection, fence: store.upsert(collection, [Point("a", unit(1), version=2)], fence=fence),
        lambda store, collection, fence: store.delete(collection, ["a"]),
        lambda store, collection, fence: store.delete(collection, ["a"], version=2),
        lambda store, collection, fence: store.delete(collection, ["a"], version=2, fence=fence),
        lambda store, collection, fence: store.delete_where(collection, parse({"n": 1})),
        lambda store, collection, fence: store.delete_where(collection, parse({"n": 1}), version=2),
        lambda store, collection, fence: store.replace_payload(
            collection, "a", payload={}, text=None, version=2, expected_version=1
        ),
    ],
    ids=["upsert", "fenced upsert", "delete", "marked", "fenced", "delete_where", "marked where", "replace_payload"],
)
def test_a_write_moves_the_version(
    store: VectorStore, collection: CollectionRef, pool: ConnectionPool[Any], running_job: Fence, write: Write
) -> None:
    store.upsert(collection, [Point("a", unit(1), {"n": 1}, version=1)])
    before = version_of(pool, collection)
    write(store, collection, running_job)
    assert version_of(pool, collection) > before


@pytest.mark.parametrize(
    "call",
    [
        lambda store, collection, fence: store.touch(collection, {"a": "hash"}, version=2),
        lambda store, collection, fence: store.touch(collection, {"a": "hash"}, version=2, fence=fence),
        lambda store, collection, fence: store.forget_deleted(collection, before_version=9),
        lambda store, collection, fence: store.create_collection(collection),
        lambda store, collection, fence: store.search(collection, unit(1), top_k=1),
        lambda store, collection, fence: store.optimize(collection),
    ],
    ids=["touch", "fenced touch", "forget_deleted", "create_collection", "search", "optimize"],
)
def test_nothing_else_moves_the_version(
    store: VectorStore, collection: CollectionRef, pool: ConnectionPool[Any], running_job: Fence, call: Write
) -> None:
    store.upsert(collection, [Point("a", unit(1), content_hash="hash", version=1)])
    before = version_of(pool, collection)
    call(store, collection, running_job)
    assert version_of(pool, collection) == before


def test_a_late_attempt_moves_no_version(
    store: VectorStore, collection: CollectionRef, pool: ConnectionPool[Any], running_job: Fence
) -> None:
    before = version_of(pool, collection)
    with pytest.raises(LeaseLost):
        store.upsert(collection, [Point("a", unit(1))], fence=Fence(running_job.job_id, 1))
    assert version_of(pool, collection) == before


def test_a_write_that_died_before_it_moved_the_version_is_made_known_by_the_next_attempt(
    stores: dict[str, VectorStore], pool: ConnectionPool[Any], running_job: Fence
) -> None:
    """In Qdrant: an attempt writes, and is killed. The next one finds its items unchanged."""
    store, collection = stores["qdrant"], new_collection(pool)
    store.upsert(collection, [Point("a", unit(1), content_hash="hash", version=7)])
    before = version_of(pool, collection)
    assert store.touch(collection, {"a": "hash"}, version=7, fence=running_job) == {"a"}
    assert version_of(pool, collection) == before + 1
    store.drop_collection(collection)


@pytest.mark.parametrize("fenced", [False, True])
def test_a_write_elsewhere_that_failed_moves_the_version(
    pool: ConnectionPool[Any], running_job: Fence, fenced: bool
) -> None:
    collection = new_collection(pool)
    with (
        pytest.raises(DependencyUnavailable, match="half-way"),
        Fencing(pool).writing(collection, running_job if fenced else None),
    ):
        raise DependencyUnavailable("half-way")
    assert version_of(pool, collection) == 1


@pytest.mark.parametrize("fenced", [False, True])
def test_a_collection_is_held_until_its_version_has_moved(
    pool: ConnectionPool[Any], vector_database: str, running_job: Fence, fenced: bool
) -> None:
    collection = new_collection(pool)
    lock = "SELECT version FROM collections WHERE vectors_id = %s FOR UPDATE"
    with psycopg.connect(vector_database, autocommit=True) as other:
        other.execute("SET lock_timeout = '100ms'")
        with (
            Fencing(pool).writing(collection, running_job if fenced else None),
            pytest.raises(psycopg.errors.LockNotAvailable),
        ):
            other.execute(lock, (collection.id,))
        assert other.execute(lock, (collection.id,)).fetchone() == (1,)


def test_writers_of_the_same_items_do_not_lock_each_other_out(pool: ConnectionPool[Any], running_job: Fence) -> None:
    """Every kind of write, each from its own thread, in orders that cross; a deadlock would be an error of one."""
    collection = new_collection(pool)
    store = PgVectorStore(pool)
    ids = [f"{n:03}" for n in range(200)]
    points = [Point(id, unit(1), {"n": 1}) for id in ids]
    start = threading.Barrier(4)
    writes: list[Callable[[], object]] = [
        lambda: store.upsert(collection, points, fence=running_job),
        lambda: store.upsert(collection, list(reversed(points))),
        lambda: store.delete(collection, list(reversed(ids))),
        lambda: store.delete_where(collection, parse({"n": 1}), version=0),
    ]

    def run(write: Callable[[], object]) -> None:
        start.wait()
        for _ in range(10):
            write()

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(run, writes))
    assert version_of(pool, collection) == 40
    store.drop_collection(collection)


def test_who_waits_to_delete_a_collection_lets_its_writers_end(
    pool: ConnectionPool[Any], vector_database: str, running_job: Fence
) -> None:
    """The one who deletes has a place in the row's queue, and a writer comes to the row for the second time."""
    collection, store = new_collection(pool), PgVectorStore(pool)
    with (
        psycopg.connect(vector_database) as first,
        psycopg.connect(vector_database, autocommit=True) as watch,
        ThreadPoolExecutor(2) as threads,
    ):
        first.execute("SELECT 1 FROM collections WHERE vectors_id = %s FOR KEY SHARE", (collection.id,))
        deleted = threads.submit(delete_collection, vector_database, collection)
        while not watch.execute("SELECT 1 FROM pg_locks WHERE locktype = 'tuple' AND granted").fetchone():
            assert not deleted.done()
        for fence in (running_job, None):
            threads.submit(store.upsert, collection, [Point("a", unit(1))], fence=fence).result(timeout=10)
        first.commit()
        assert deleted.result(timeout=10) == 1
    store.drop_collection(collection)


def delete_collection(url: str, collection: CollectionRef) -> int:
    with psycopg.connect(url) as connection:
        return connection.execute("DELETE FROM collections WHERE vectors_id = %s", (collection.id,)).rowcount


def new_collection(pool: ConnectionPool[Any]) -> CollectionRef:
    return add_collection(pool, DIMENSION)
