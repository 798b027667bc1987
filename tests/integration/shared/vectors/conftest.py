"""The stores that the contract suite runs over, and jobs to fence writes with."""

import uuid
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import sqlalchemy
from psycopg_pool import ConnectionPool
from qdrant_client import QdrantClient

from shared.database.vector_tables import Item
from shared.vectors.fencing import Fencing, move_version
from shared.vectors.pgvector import PgVectorStore
from shared.vectors.protocol import CollectionRef, Fence, Vector, VectorStore
from shared.vectors.qdrant import QdrantVectorStore
from tests.fakes.vectors import MemoryVectorStore

DIMENSION = 8
STORES = ("memory", "pgvector", "qdrant")


def unit(*components: float) -> Vector:
    """A unit vector of 8 components that begins with those given."""
    vector = np.zeros(DIMENSION, dtype=np.float32)
    vector[: len(components)] = components
    return vector / np.linalg.norm(vector)


@pytest.fixture(scope="session")
def vector_database(make_database: Callable[[], str]) -> str:
    """The URL of a database of these tests' own."""
    url = make_database()
    engine = sqlalchemy.create_engine(sqlalchemy.make_url(url).set(drivername="postgresql+psycopg"))
    Item.metadata.create_all(engine, tables=[Item.__table__])  # type: ignore[list-item]
    engine.dispose()
    return url


@pytest.fixture(scope="session")
def pool(vector_database: str) -> Iterator[ConnectionPool[Any]]:
    kwargs = {"autocommit": True}
    with ConnectionPool(vector_database, kwargs=kwargs, min_size=1, max_size=4, open=True) as pool:
        yield pool


@pytest.fixture(scope="session")
def stores(pool: ConnectionPool[Any]) -> dict[str, VectorStore]:
    """Every store by name. Qdrant runs in its client's in-process mode, which knows no payload indexes."""
    warnings.filterwarnings("ignore", message="Local mode is not recommended")
    client = QdrantClient(":memory:")

    def owns_job(fence: Fence) -> bool:
        query = "SELECT 1 FROM jobs WHERE id = %s AND attempt = %s AND state = 'running'"
        with pool.connection() as connection:
            return connection.execute(query, (fence.job_id, fence.attempt)).fetchone() is not None

    def has_collection(collection: CollectionRef) -> bool:
        with pool.connection() as connection:
            query = "SELECT 1 FROM collections WHERE vectors_id = %s"
            return connection.execute(query, (collection.id,)).fetchone() is not None

    def move(collection: CollectionRef) -> None:
        with pool.connection() as connection:
            move_version(connection, collection)

    return {
        "memory": MemoryVectorStore(owns_job, has_collection, move),
        "pgvector": PgVectorStore(pool),
        "qdrant": QdrantVectorStore(client, Fencing(pool), index_payloads=False),
    }


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, stores: dict[str, VectorStore]) -> VectorStore:
    return stores[request.param]


@pytest.fixture
def collection(store: VectorStore, pool: ConnectionPool[Any]) -> Iterator[CollectionRef]:
    """A fresh collection of vectors with 8 components."""
    ref = add_collection(pool, DIMENSION)
    store.create_collection(ref)
    yield ref
    store.drop_collection(ref)


def add_collection(pool: ConnectionPool[Any], dimension: int) -> CollectionRef:
    """A collection's row: fenced writes look for it."""
    ref = CollectionRef(uuid.uuid4(), dimension)
    with pool.connection() as connection:
        connection.execute(
            "INSERT INTO collections (id, vectors_id, tenant, name, model, dimension) VALUES"
            " (%s, %s, 'acme', %s, 'm', %s)",
            (ref.id, ref.id, ref.id.hex, dimension),
        )
    return ref


@pytest.fixture
def running_job(pool: ConnectionPool[Any]) -> Fence:
    """A job that its second attempt owns."""
    fence = Fence(uuid.uuid4(), 2)
    with pool.connection() as connection:
        connection.execute(
            "INSERT INTO jobs (id, tenant, kind, queue, state, input, timeout_seconds, attempt)"
            " VALUES (%s, 'acme', 'index', 'index', 'running', '{}', 60, %s)",
            (fence.job_id, fence.attempt),
        )
    return fence
