"""What every store does for collections that are deleted or embedded anew."""

from typing import Any

import numpy as np
import pytest
from psycopg_pool import ConnectionPool

from shared.errors import LeaseLost
from shared.vectors.fencing import build_id
from shared.vectors.protocol import CollectionRef, Fence, Point, VectorStore
from tests.integration.shared.vectors.conftest import DIMENSION


def points(*ids: str, version: int = 1) -> list[Point]:
    return [Point(id, np.eye(DIMENSION, dtype=np.float32)[0], version=version) for id in ids]


def ids(store: VectorStore, collection: CollectionRef) -> set[str]:
    return {point.id for point in store.list_items(collection, limit=100).points}


@pytest.fixture
def build(store: VectorStore, running_job: Fence) -> Any:
    """Vectors that the running job makes; they are no collection's."""
    ref = CollectionRef(build_id(running_job.job_id), DIMENSION)
    store.create_collection(ref)
    yield ref
    store.drop_collection(ref)


def test_a_collection_goes_in_pages(store: VectorStore, collection: CollectionRef) -> None:
    store.upsert(collection, points("a", "b", "c"))
    assert sum(store.drop_pages(collection)) == 3
    assert ids(store, collection) == set()
    assert sum(store.drop_pages(collection)) == 0


def test_a_job_writes_what_it_builds(
    store: VectorStore, collection: CollectionRef, build: CollectionRef, running_job: Fence
) -> None:
    store.upsert(build, points("a"), fence=running_job)
    assert (ids(store, build), ids(store, collection)) == ({"a"}, set())
    stale = Fence(running_job.job_id, running_job.attempt - 1)
    with pytest.raises(LeaseLost):
        store.upsert(build, points("b"), fence=stale)
    with pytest.raises(LeaseLost):
        store.copy_deletes(collection, build, fence=stale)
    assert ids(store, build) == {"a"}


def test_deletes_are_copied_with_their_versions(
    store: VectorStore, collection: CollectionRef, build: CollectionRef, running_job: Fence
) -> None:
    store.upsert(build, points("gone", "newer", "kept"), fence=running_job)
    store.upsert(build, points("newer", version=20), fence=running_job)
    store.delete(collection, ["gone", "never"], version=10)
    store.delete(collection, ["newer"], version=15)
    store.copy_deletes(collection, build, fence=running_job)
    assert ids(store, build) == {"newer", "kept"}
    store.upsert(build, points("gone", "never", version=9), fence=running_job)
    assert ids(store, build) == {"newer", "kept"}, "a write of before does not bring it back"
    store.upsert(build, points("gone", "never", version=11), fence=running_job)
    assert ids(store, build) == {"newer", "kept", "gone", "never"}


def test_a_confirmation_moves_touches_and_no_version(
    store: VectorStore, collection: CollectionRef, running_job: Fence, pool: ConnectionPool[Any]
) -> None:
    def counters() -> tuple[int, int]:
        with pool.connection() as connection:
            query = "SELECT version, touches FROM collections WHERE vectors_id = %s"
            row = connection.execute(query, (collection.id,)).fetchone()
        assert row is not None
        return row[0], row[1]

    if "Memory" in type(store).__name__:
        pytest.skip("the memory store has no row")
    store.upsert(collection, [Point("a", np.eye(DIMENSION, dtype=np.float32)[0], content_hash="h", version=1)])
    version, touches = counters()
    store.touch(collection, {"a": "h"}, version=5, fence=running_job)
    assert counters() == (version, touches + 1)
