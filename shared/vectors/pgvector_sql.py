"""The statements of the pgvector store. `{mine}` is the predicate that names the collection."""

from typing import Any

from psycopg import sql

from shared.vectors.filter_nodes import Filter
from shared.vectors.filter_sql import compile_sql
from shared.vectors.pgvector_index import embedding_expression, in_collection
from shared.vectors.protocol import CollectionRef

LIVE = sql.SQL("embedding IS NOT NULL")
Statement = tuple[sql.Composed, dict[str, Any]]

UPSERT = sql.SQL(
    """
    INSERT INTO items (collection_id, item_id, embedding, payload, text, content_hash, version)
    SELECT %(collection)s, id, embedding, payload::jsonb, text, content_hash, version
    FROM unnest(%(ids)s::text[], %(vectors)b::vector[], %(payloads)s::text[], %(texts)s::text[], %(hashes)s::text[],
                %(versions)s::bigint[]) AS new (id, embedding, payload, text, content_hash, version)
    ON CONFLICT (collection_id, item_id) DO UPDATE
    SET embedding = EXCLUDED.embedding, payload = EXCLUDED.payload, text = EXCLUDED.text,
        content_hash = EXCLUDED.content_hash, version = EXCLUDED.version, updated_at = now()
    WHERE items.version <= EXCLUDED.version
    """
)

TOUCH = sql.SQL(
    """
    WITH unchanged AS (
        SELECT item_id FROM items JOIN unnest(%(ids)s::text[], %(hashes)s::text[]) AS seen (id, hash)
            ON item_id = seen.id COLLATE "C" AND content_hash = seen.hash
        WHERE collection_id = %(collection)s AND embedding IS NOT NULL
        ORDER BY item_id FOR UPDATE OF items
    )
    UPDATE items SET version = GREATEST(version, %(version)s) FROM unchanged
    WHERE items.collection_id = %(collection)s AND items.item_id = unchanged.item_id
    RETURNING items.item_id
    """
)

DELETE = sql.SQL("DELETE FROM items WHERE collection_id = %(collection)s AND item_id = ANY (%(ids)s)")

MARK_DELETED = sql.SQL(
    """
    INSERT INTO items (collection_id, item_id, version)
    SELECT %(collection)s, id, %(version)s FROM unnest(%(ids)s::text[]) AS gone (id)
    ON CONFLICT (collection_id, item_id) DO UPDATE
    SET embedding = NULL, payload = '{}', text = NULL, content_hash = NULL, version = EXCLUDED.version,
        updated_at = now()
    WHERE items.version <= EXCLUDED.version
    """
)

FORGET_DELETED = sql.SQL(
    "DELETE FROM items WHERE collection_id = %(collection)s AND embedding IS NULL AND version < %(version)s"
)

CONTENT_HASHES = sql.SQL(
    "SELECT item_id, content_hash FROM items"
    " WHERE collection_id = %(collection)s AND item_id = ANY (%(ids)s) AND content_hash IS NOT NULL"
)

SIZE = sql.SQL(
    """
    SELECT COALESCE(sum(24 + 16 + pg_column_size(item_id) + pg_column_size(payload) + 8 + 16
                        + COALESCE(pg_column_size(embedding), 0) + COALESCE(pg_column_size(text), 0)
                        + COALESCE(pg_column_size(content_hash), 0)), 0)::bigint
           + COALESCE(pg_relation_size(to_regclass(%(index)s)), 0)
    FROM items WHERE collection_id = %(collection)s
    """
)
"""Row headers, columns, and the HNSW index. The primary key and the GIN index are shared, and left out."""

TUNE_SCAN = sql.SQL(
    "SELECT set_config('hnsw.ef_search', %(ef)s, true), set_config('hnsw.iterative_scan', 'strict_order', true),"
    " set_config('hnsw.max_scan_tuples', %(tuples)s, true)"
)


def columns(with_vectors: bool) -> sql.Composed:
    """What reads of items select."""
    vector = sql.SQL("embedding" if with_vectors else "NULL")
    return sql.SQL("item_id, payload, text, content_hash, version, {}").format(vector)


def get(with_vectors: bool) -> sql.Composed:
    """Items by id."""
    return sql.SQL(
        "SELECT {} FROM items WHERE collection_id = %(collection)s AND item_id = ANY (%(ids)s) AND {}"
    ).format(columns(with_vectors), LIVE)


def list_page(collection: CollectionRef, filter: Filter | None, with_vectors: bool) -> Statement:
    """Items after `cursor`, by id."""
    where, params = _where(collection, filter)
    query = sql.SQL("SELECT {} FROM items WHERE {} AND item_id > %(cursor)s ORDER BY item_id LIMIT %(limit)s")
    return query.format(columns(with_vectors), where), params


def count(collection: CollectionRef, filter: Filter | None) -> Statement:
    """How many items match."""
    where, params = _where(collection, filter)
    return sql.SQL("SELECT count(*) FROM items WHERE {}").format(where), params


def holds_more(collection: CollectionRef) -> sql.Composed:
    """Whether a collection holds more than `threshold` items, without counting them all."""
    where, _ = _where(collection, None)
    return sql.SQL(
        "SELECT count(*) > %(threshold)s FROM (SELECT 1 FROM items WHERE {} LIMIT %(threshold)s + 1) AS found"
    ).format(where)


def delete_where(collection: CollectionRef, filter: Filter, marked: bool) -> Statement:
    """Remove the items that match, or mark them deleted at `version` unless theirs is higher."""
    where, params = _where(collection, filter)
    if not marked:
        return sql.SQL("DELETE FROM items WHERE {}").format(where), params
    query = sql.SQL(
        "UPDATE items SET embedding = NULL, payload = '{{}}', text = NULL, content_hash = NULL,"
        " version = %(version)s, updated_at = now() WHERE {} AND version <= %(version)s"
    )
    return query.format(where), params


def drop_page(collection: CollectionRef) -> sql.Composed:
    """Remove the first `page` items after `after`, marks included. Answers the last id removed, null for none."""
    return sql.SQL(
        "WITH gone AS (DELETE FROM items WHERE {mine} AND item_id = ANY (ARRAY("
        "SELECT item_id FROM items WHERE {mine} AND item_id > %(after)s ORDER BY item_id LIMIT %(page)s))"
        " RETURNING item_id) SELECT max(item_id) FROM gone"
    ).format(mine=in_collection(collection))


def nearest(collection: CollectionRef, filter: Filter | None, *, exact: bool, with_vectors: bool) -> Statement:
    """The `limit` nearest to `vector` that are not in `exclude`.

    `exact` leaves the HNSW index out: it is over another expression then.
    """
    where, params = _where(collection, filter)
    query = sql.SQL(
        "SELECT {columns}, {embedding} <=> %(vector)s::vector AS distance FROM items"
        " WHERE {where} AND item_id <> ALL (%(exclude)s::text[]) ORDER BY distance, item_id LIMIT %(limit)s"
    )
    embedding = sql.SQL("embedding") if exact else embedding_expression(collection)
    return query.format(columns=columns(with_vectors), embedding=embedding, where=where), params


def _where(collection: CollectionRef, filter: Filter | None) -> Statement:
    mine = sql.SQL("{} AND {}").format(in_collection(collection), LIVE)
    if filter is None:
        return mine, {}
    condition, params = compile_sql(filter, sql.SQL("payload"))
    return sql.SQL("{} AND {}").format(mine, condition), params
