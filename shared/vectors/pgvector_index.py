"""HNSW indexes of the pgvector store: one a collection, made once it is large.

Built CONCURRENTLY, on a connection of its own, so that reads and writes go on. Two workers that race are kept apart by
an advisory lock that ends with its transaction (nothing here outlives a transaction, so a transaction-mode pooler may
stand in front). A build that was interrupted leaves an invalid index behind, which the next call replaces.
"""

from typing import Any, LiteralString

import psycopg
from psycopg import sql
from psycopg.rows import tuple_row
from psycopg_pool import ConnectionPool

from shared.vectors.protocol import CollectionRef

MAX_DIMENSION = 2_000
"""An HNSW index over `vector` takes no more components (pgvector 0.8, README, "HNSW")."""


def index_name(collection: CollectionRef) -> str:
    """The name of a collection's index."""
    return f"items_hnsw_{collection.id.hex}"


def embedding_expression(collection: CollectionRef) -> sql.Composed:
    """What the index is over; a query has to say the same for the planner to use it."""
    return sql.SQL("(embedding::vector({}))").format(sql.Literal(int(collection.dimension)))


def in_collection(collection: CollectionRef) -> sql.Composed:
    """The predicate of the index, with the id as a literal: a parameter would hide it from a generic plan."""
    return sql.SQL("collection_id = {}::uuid").format(sql.Literal(str(collection.id)))


def is_ready(connection: psycopg.Connection[Any], collection: CollectionRef) -> bool:
    """Whether the index is there and complete."""
    return _validity(connection, collection) is True


def build(pool: ConnectionPool[Any], collection: CollectionRef) -> bool:
    """Create the index, or create it anew when it is invalid. False: it is there, or somebody is at it."""
    with pool.connection() as guard, guard.transaction():
        guard.execute("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
        if not _try_lock(guard, collection) or is_ready(guard, collection) or _in_progress(guard, collection):
            return False
        # The build waits for every snapshot older than its own, and the last SELECT keeps its one until the next
        # statement. This statement takes none, and keeps the guard from being cut off while it idles.
        guard.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
        with _own_connection(pool) as builder:
            _drop(builder, collection)
            builder.execute(
                sql.SQL("CREATE INDEX CONCURRENTLY {} ON items USING hnsw ({} vector_cosine_ops) WHERE {}").format(
                    sql.Identifier(index_name(collection)),
                    embedding_expression(collection),
                    in_collection(collection),
                ),
                prepare=False,
            )
            builder.execute("ANALYZE items", prepare=False)
    return True


def drop(pool: ConnectionPool[Any], collection: CollectionRef) -> None:
    """Remove the index where there is one."""
    with pool.connection() as connection:
        exists = _validity(connection, collection) is not None
    if exists:
        with _own_connection(pool) as connection:
            _drop(connection, collection)


def _drop(connection: psycopg.Connection[Any], collection: CollectionRef) -> None:
    statement = sql.SQL("DROP INDEX CONCURRENTLY IF EXISTS {}").format(sql.Identifier(index_name(collection)))
    connection.execute(statement, prepare=False)


def _own_connection(pool: ConnectionPool[Any]) -> psycopg.Connection[Any]:
    """A connection aside from the pool: the pool may be of one, and CONCURRENTLY wants autocommit."""
    conninfo = pool.conninfo() if callable(pool.conninfo) else pool.conninfo
    kwargs = pool.kwargs() if callable(pool.kwargs) else pool.kwargs
    return psycopg.Connection.connect(conninfo or "", **{**(kwargs or {}), "autocommit": True})


def _validity(connection: psycopg.Connection[Any], collection: CollectionRef) -> bool | None:
    """None where there is no index, else whether it is complete."""
    query = "SELECT indisvalid AND indisready FROM pg_index WHERE indexrelid = to_regclass(%s)"
    valid: bool | None = _one(connection, query, index_name(collection))
    return valid


def _in_progress(connection: psycopg.Connection[Any], collection: CollectionRef) -> bool:
    query = "SELECT true FROM pg_stat_progress_create_index WHERE index_relid = to_regclass(%s)"
    return bool(_one(connection, query, index_name(collection)))


def _try_lock(connection: psycopg.Connection[Any], collection: CollectionRef) -> bool:
    return bool(_one(connection, "SELECT pg_try_advisory_xact_lock(hashtextextended(%s, 0))", index_name(collection)))


def _one(connection: psycopg.Connection[Any], query: LiteralString, name: str) -> Any:
    with connection.cursor(row_factory=tuple_row) as cursor:
        row = cursor.execute(query, (name,), prepare=False).fetchone()
    return row[0] if row else None
