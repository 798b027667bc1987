"""What only the pgvector store has: its indexes, and the lock on the job's row."""

import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import psycopg
import pytest
from numpy.typing import NDArray
from psycopg import sql
from psycopg_pool import ConnectionPool

from shared import collections
from shared.errors import DependencyUnavailable
from shared.images.fingerprint import Fingerprint
from shared.jobs import lifecycle, sweeping
from shared.vectors import fencing, pgvector_index, pgvector_sql
from shared.vectors.filters import parse
from shared.vectors.pgvector import PgVectorStore
from shared.vectors.protocol import CollectionRef, Fence, Point

from .conftest import add_collection

DIMENSION = 64
ITEMS = 20_000


def clustered(count: int, generator: np.random.Generator) -> NDArray[np.float32]:
    """(count, 64) unit vectors in 200 clusters."""
    centers = generator.normal(size=(200, DIMENSION))
    vectors = centers[generator.integers(200, size=count)] + 0.6 * generator.normal(size=(count, DIMENSION))
    unit: NDArray[np.float32] = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return unit


@pytest.fixture(scope="module")
def store(pool: ConnectionPool[Any]) -> PgVectorStore:
    return PgVectorStore(pool)


@pytest.fixture(scope="module")
def vectors() -> NDArray[np.float32]:
    return clustered(ITEMS, np.random.default_rng(3))


@pytest.fixture(scope="module")
def large(store: PgVectorStore, vectors: NDArray[np.float32]) -> Iterator[CollectionRef]:
    """20,000 indexed items; `n` counts them, a few are `rare`."""
    collection = CollectionRef(uuid.uuid4(), DIMENSION)
    for start in range(0, ITEMS, 1_000):
        store.upsert(
            collection,
            [large_point(n, vectors[n]) for n in range(start, start + 1_000)],
        )
    assert store.optimize(collection) is True
    yield collection
    store.drop_collection(collection)


def large_point(n: int, vector: NDArray[np.float32]) -> Point:
    hashes = (f"{n:064x}", f"{n + ITEMS:064x}", "0" * 16, "0" * 16)
    fingerprint = Fingerprint(*hashes, width=640, height=480, size=1_000)
    payload = {"n": n, "rare": n % 2_000 == 0}
    return Point(f"{n:05}", vector, payload, f"photo number{n}", fingerprint=fingerprint)


@pytest.fixture
def small(store: PgVectorStore) -> Iterator[CollectionRef]:
    collection = CollectionRef(uuid.uuid4(), DIMENSION)
    yield collection
    store.drop_collection(collection)


def fill(store: PgVectorStore, collection: CollectionRef, count: int) -> None:
    vectors = clustered(count, np.random.default_rng(1))
    store.upsert(collection, [Point(f"{n:05}", vectors[n], {"n": n}) for n in range(count)])


def plan(pool: ConnectionPool[Any], collection: CollectionRef, *, exact: bool = False) -> str:
    query, params = pgvector_sql.nearest(collection, None, exact=exact, with_vectors=False, with_payloads=True)
    values = {**params, "vector": str([1.0] * DIMENSION), "exclude": [], "limit": 10, "offset": 0}
    with pool.connection() as connection, connection.transaction():
        connection.execute(pgvector_sql.TUNE_SCAN, {"ef": "100", "tuples": "40000"})
        return "\n".join(row[0] for row in connection.execute(sql.SQL("EXPLAIN ") + query, values))


def test_searches_use_the_index(pool: ConnectionPool[Any], large: CollectionRef) -> None:
    name = pgvector_index.index_name(large)
    assert f"Index Scan using {name}" in plan(pool, large)
    assert name not in plan(pool, large, exact=True)


def test_words_copies_values_counts_and_samples_come_from_their_indexes(
    pool: ConnectionPool[Any], large: CollectionRef
) -> None:
    def explained(query: sql.Composed, params: dict[str, Any]) -> str:
        with pool.connection() as connection:
            return "\n".join(row[0] for row in connection.execute(sql.SQL("EXPLAIN ") + query, params))

    with pool.connection() as connection:
        connection.execute("VACUUM ANALYZE items")
    texts, named = pgvector_sql.best_texts(large, {"number17": 5}, None)
    assert "ix_items_words" in explained(texts, {**named, "exclude": [], "limit": 10})
    copies = explained(pgvector_sql.copies(large), {"files": ["a"], "pixels": ["b"], "apart": []})
    assert "ix_items_file_hash" in copies
    assert "ix_items_pixel_hash" in copies
    for filter in ({"n": 17}, {"n": {"in": [17, 18, 19]}}, {"n": {"in": list(range(1_000))}}):
        assert "ix_items_payload" in explained(*pgvector_sql.count(large, parse(filter))), filter
    assert "Index Only Scan using ix_items_live" in explained(*pgvector_sql.count(large, None))
    assert "Index Scan using ix_items_live" in explained(pgvector_sql.sample(large), {"limit": 100})


def test_recall_against_brute_force(store: PgVectorStore, large: CollectionRef, vectors: NDArray[np.float32]) -> None:
    generator = np.random.default_rng(5)
    recalls = []
    for query in vectors[::200] + 0.05 * generator.normal(size=(100, DIMENSION)).astype(np.float32):
        best = np.argsort(-(vectors @ query), kind="stable")[:10]
        hits = store.search(large, query, top_k=10)
        recalls.append(len({hit.id for hit in hits} & {f"{n:05}" for n in best}) / 10)
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert np.mean(recalls) >= 0.95


def test_a_selective_filter_starves_no_search(
    store: PgVectorStore, large: CollectionRef, vectors: NDArray[np.float32]
) -> None:
    for filter in ({"rare": True}, {"n": {"lt": 10}}, {"not": {"n": {"gte": 10}}}):
        assert len(store.search(large, vectors[77], top_k=10, filter=parse(filter))) == 10
    everything = store.search(large, vectors[77], top_k=1_000, offset=10_000, filter=parse({"n": {"gte": 0}}))
    assert len(everything) == 1_000


def test_a_small_collection_gets_no_index(store: PgVectorStore, small: CollectionRef) -> None:
    fill(store, small, 100)
    assert store.optimize(small) is False


def test_racing_workers_build_one_index(pool: ConnectionPool[Any], small: CollectionRef) -> None:
    eager = PgVectorStore(pool, index_threshold=10)
    fill(eager, small, 1_000)
    with ThreadPoolExecutor(3) as workers:
        built = list(workers.map(lambda _: eager.optimize(small), range(3)))
    assert sorted(built) == [False, False, True]
    assert eager.optimize(small) is False
    assert len(eager.search(small, np.ones(DIMENSION, dtype=np.float32), top_k=10)) == 10


def test_a_collection_that_has_its_index_is_not_counted(
    pool: ConnectionPool[Any], vector_database: str, small: CollectionRef
) -> None:
    eager = PgVectorStore(pool, index_threshold=10)
    fill(eager, small, 100)
    eager.optimize(small)
    with psycopg.connect(vector_database) as connection:
        connection.execute("LOCK TABLE items IN ACCESS EXCLUSIVE MODE")
        with ThreadPoolExecutor(1) as worker:
            optimized = worker.submit(eager.optimize, small)
            try:
                assert optimized.result(timeout=2) is False
            finally:
                connection.rollback()


def test_an_interrupted_build_is_made_anew(pool: ConnectionPool[Any], small: CollectionRef) -> None:
    eager = PgVectorStore(pool, index_threshold=10)
    fill(eager, small, 100)
    eager.optimize(small)
    name = pgvector_index.index_name(small)
    with pool.connection() as connection:
        connection.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = to_regclass(%s)", (name,))

    assert len(eager.search(small, np.ones(DIMENSION, dtype=np.float32), top_k=10)) == 10
    assert eager.optimize(small) is True
    with pool.connection() as connection:
        assert pgvector_index.is_ready(connection, small)


def test_writes_go_on_with_an_index(pool: ConnectionPool[Any], small: CollectionRef) -> None:
    eager = PgVectorStore(pool, index_threshold=10)
    fill(eager, small, 200)
    eager.optimize(small)
    axis = np.eye(DIMENSION, dtype=np.float32)[0]
    eager.upsert(small, [Point("best", axis, version=1)])
    assert eager.search(small, axis, top_k=1)[0].id == "best"
    eager.delete(small, ["best"], version=2)
    assert eager.search(small, axis, top_k=1)[0].id != "best"
    assert len(eager.search(small, axis, top_k=500)) == 200


def test_dropping_a_collection_drops_its_index(pool: ConnectionPool[Any]) -> None:
    eager = PgVectorStore(pool, index_threshold=10)
    collection = CollectionRef(uuid.uuid4(), DIMENSION)
    fill(eager, collection, 100)
    eager.optimize(collection)
    eager.drop_collection(collection)
    with pool.connection() as connection:
        row = connection.execute("SELECT to_regclass(%s)", (pgvector_index.index_name(collection),)).fetchone()
    assert row == (None,)


def test_a_large_collection_is_dropped_a_page_a_statement(pool: ConnectionPool[Any]) -> None:
    store, collection = PgVectorStore(pool), CollectionRef(uuid.uuid4(), 3)
    with pool.connection() as connection:
        connection.execute(
            "INSERT INTO items (collection_id, item_id, embedding, version)"
            " SELECT %s, 'item-' || n, '[1,2,3]', 0 FROM generate_series(1, 12000) n",
            (collection.id,),
        )
        connection.execute(PAGES_ONLY)
    try:
        store.drop_collection(collection)
    finally:
        with pool.connection() as connection:
            connection.execute("DROP FUNCTION pages_only CASCADE")
    assert store.count(collection) == 0


PAGES_ONLY = """
CREATE FUNCTION pages_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF (SELECT count(*) FROM gone) > 5000 THEN RAISE 'too many rows for one statement'; END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER pages_only AFTER DELETE ON items REFERENCING OLD TABLE AS gone
  FOR EACH STATEMENT EXECUTE FUNCTION pages_only()
"""


def test_vectors_too_long_for_an_index_are_scanned(pool: ConnectionPool[Any]) -> None:
    eager = PgVectorStore(pool, index_threshold=1)
    collection = CollectionRef(uuid.uuid4(), 2_048)
    vectors = np.eye(3, 2_048, dtype=np.float32)
    eager.upsert(collection, [Point(str(n), vectors[n]) for n in range(3)])
    assert eager.optimize(collection) is False
    assert [hit.id for hit in eager.search(collection, vectors[1], top_k=1)] == ["1"]


def test_nobody_takes_a_job_over_while_its_attempt_writes(
    pool: ConnectionPool[Any], vector_database: str, running_job: Fence
) -> None:
    collection = add_collection(pool, DIMENSION)
    with psycopg.connect(vector_database, autocommit=True) as connection:
        connection.execute("UPDATE jobs SET lease_until = now() - interval '1 s' WHERE id = %s", (running_job.job_id,))
        with PgVectorStore(pool)._transaction(collection, running_job):
            assert sweeping.rescue(connection, max_crashes=3, retention_days=1, page=10).requeued == []
        rescued = sweeping.rescue(connection, max_crashes=3, retention_days=1, page=10)
    assert rescued.requeued == [("index", running_job.job_id)]


def test_a_write_holds_up_neither_the_heartbeat_nor_a_cancel(
    pool: ConnectionPool[Any], vector_database: str, running_job: Fence
) -> None:
    collection = add_collection(pool, DIMENSION)
    beat = lifecycle.Beat(running_job.job_id, running_job.attempt)
    with psycopg.connect(vector_database, autocommit=True) as connection:
        connection.execute("SET lock_timeout = '1s'")
        with PgVectorStore(pool)._transaction(collection, running_job):
            assert lifecycle.beat(connection, [beat], lease_seconds=60).owned == {running_job.job_id}
            connection.execute("UPDATE jobs SET cancel_requested_at = now() WHERE id = %s", (running_job.job_id,))


def test_a_collection_is_not_deleted_in_the_middle_of_a_write(
    pool: ConnectionPool[Any], vector_database: str, running_job: Fence
) -> None:
    collection = add_collection(pool, DIMENSION)
    with psycopg.connect(vector_database, autocommit=True) as connection:
        connection.execute("SET lock_timeout = '200ms'")
        with PgVectorStore(pool)._transaction(collection, running_job):
            fencing.move_version(connection, collection)
            with pytest.raises(psycopg.errors.LockNotAvailable):
                collections.delete(connection, collection.id)
        collections.delete(connection, collection.id)


def test_a_postgres_that_is_away_is_said_so() -> None:
    with ConnectionPool("postgresql://nobody@127.0.0.1:1/none", min_size=0, max_size=1, timeout=0.2, open=True) as pool:
        store = PgVectorStore(pool)
        with pytest.raises(DependencyUnavailable):
            store.ping()
