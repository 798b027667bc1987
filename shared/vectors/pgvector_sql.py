"""The statements of the pgvector store. `{mine}` is the predicate that names the collection."""

from collections.abc import Mapping, Sequence
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
    INSERT INTO items
        (collection_id, item_id, embedding, payload, text, words, content_hash, image, fingerprint, version)
    SELECT %(collection)s, id, embedding, payload::jsonb, text, string_to_array(words, ' '), content_hash, image::jsonb,
           fingerprint::jsonb, version
    FROM unnest(%(ids)s::text[], %(vectors)b::vector[], %(payloads)s::text[], %(texts)s::text[], %(words)s::text[],
                %(hashes)s::text[], %(images)s::text[], %(fingerprints)s::text[], %(versions)s::bigint[])
        AS new (id, embedding, payload, text, words, content_hash, image, fingerprint, version)
    ON CONFLICT (collection_id, item_id) DO UPDATE
    SET embedding = EXCLUDED.embedding, payload = EXCLUDED.payload, text = EXCLUDED.text, words = EXCLUDED.words,
        content_hash = EXCLUDED.content_hash, image = EXCLUDED.image, fingerprint = EXCLUDED.fingerprint,
        version = EXCLUDED.version, updated_at = now()
    WHERE items.version <= EXCLUDED.version
    """
)
"""Items in the order of their ids. The words of a text come as one text: they hold no spaces."""

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

NO_CONTENT = sql.SQL(
    "embedding = NULL, payload = '{}', text = NULL, words = NULL, content_hash = NULL, image = NULL, fingerprint = NULL"
)
"""What a mark of a delete keeps: nothing but its version."""

DELETE = sql.SQL(
    """
    DELETE FROM items WHERE collection_id = %(collection)s AND item_id = ANY (ARRAY(
        SELECT item_id FROM items WHERE collection_id = %(collection)s AND item_id = ANY (%(ids)s)
        ORDER BY item_id FOR UPDATE))
    """
)

MARK_DELETED = sql.SQL(
    """
    INSERT INTO items (collection_id, item_id, version)
    SELECT %(collection)s, id, %(version)s FROM unnest(%(ids)s::text[]) AS gone (id)
    ON CONFLICT (collection_id, item_id) DO UPDATE
    SET {no_content}, version = EXCLUDED.version, updated_at = now()
    WHERE items.version <= EXCLUDED.version
    """
).format(no_content=NO_CONTENT)

COPY_DELETES = sql.SQL(
    """
    INSERT INTO items (collection_id, item_id, version)
    SELECT %(target)s, item_id, version FROM items
    WHERE collection_id = %(source)s AND embedding IS NULL ORDER BY item_id
    ON CONFLICT (collection_id, item_id) DO UPDATE
    SET {no_content}, version = EXCLUDED.version, updated_at = now()
    WHERE items.version <= EXCLUDED.version
    """
).format(no_content=NO_CONTENT)

REPLACE_PAYLOAD = sql.SQL(
    """
    UPDATE items SET payload = %(payload)s::jsonb, text = %(text)s, words = %(words)s, content_hash = NULL,
                     version = %(version)s, updated_at = now()
    WHERE collection_id = %(collection)s AND item_id = %(id)s AND embedding IS NOT NULL
      AND version = %(expected)s AND version <= %(version)s
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
                        + COALESCE(pg_column_size(words), 0) + COALESCE(pg_column_size(content_hash), 0)
                        + COALESCE(pg_column_size(image), 0) + COALESCE(pg_column_size(fingerprint), 0)), 0)::bigint
           + COALESCE(pg_relation_size(to_regclass(%(index)s)), 0)
    FROM items WHERE collection_id = %(collection)s
    """
)
"""Row headers, columns, and the HNSW index. The other indexes are shared by all collections, and left out."""

TUNE_SCAN = sql.SQL(
    "SELECT set_config('hnsw.ef_search', %(ef)s, true), set_config('hnsw.iterative_scan', 'strict_order', true),"
    " set_config('hnsw.max_scan_tuples', %(tuples)s, true)"
)


def columns(with_vectors: bool) -> sql.Composed:
    """What reads of items select."""
    vector = sql.SQL("embedding" if with_vectors else "NULL")
    return sql.SQL("item_id, payload, text, content_hash, version, {}, image, fingerprint").format(vector)


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
    chosen = sql.SQL(
        "{mine} AND item_id = ANY (ARRAY(SELECT item_id FROM items WHERE {where} ORDER BY item_id FOR UPDATE))"
    )
    mine = in_collection(collection)
    if not marked:
        return sql.SQL("DELETE FROM items WHERE {}").format(chosen.format(mine=mine, where=where)), params
    where = sql.SQL("{} AND version <= %(version)s").format(where)
    query = sql.SQL("UPDATE items SET {}, version = %(version)s, updated_at = now() WHERE {}")
    return query.format(NO_CONTENT, chosen.format(mine=mine, where=where)), params


def drop_page(collection: CollectionRef) -> sql.Composed:
    """Remove the first `page` items after `after`, marks included. Answers the last id removed, null for none, and how
    many there were.
    """
    return sql.SQL(
        "WITH gone AS (DELETE FROM items WHERE {mine} AND item_id = ANY (ARRAY("
        "SELECT item_id FROM items WHERE {mine} AND item_id > %(after)s ORDER BY item_id LIMIT %(page)s))"
        " RETURNING item_id) SELECT max(item_id), count(*) FROM gone"
    ).format(mine=in_collection(collection))


def nearest(
    collection: CollectionRef, filter: Filter | None, *, exact: bool, with_vectors: bool, with_payloads: bool
) -> Statement:
    """The `limit` nearest to `vector` after the first `offset`, of those that are not in `exclude`.

    `exact` leaves the HNSW index out: it is over another expression then.
    """
    where, params = _where(collection, filter)
    query = sql.SQL(
        "SELECT item_id, {content}, {vector}, {embedding} <=> %(vector)s::vector AS distance FROM items"
        " WHERE {where} AND item_id <> ALL (%(exclude)s::text[])"
        " ORDER BY distance, item_id LIMIT %(limit)s OFFSET %(offset)s"
    )
    embedding = sql.SQL("embedding") if exact else embedding_expression(collection)
    content = sql.SQL("payload, text" if with_payloads else "NULL, NULL")
    vector = sql.SQL("embedding" if with_vectors else "NULL")
    return query.format(content=content, vector=vector, embedding=embedding, where=where), params


def word_counts(collection: CollectionRef, words: Sequence[str]) -> Statement:
    """How many items there are, and how many have each of the words."""
    bound, params = _bound("word", words)
    counts = [sql.SQL("count(*) FILTER (WHERE words @> ARRAY[{}::text])").format(word) for word in bound]
    query = sql.SQL(
        "SELECT (SELECT count(*) FROM items WHERE {where}), {counts}"
        " FROM items WHERE {where} AND words && %(words)s::text[]"
    )
    where, _ = _where(collection, None)
    return query.format(where=where, counts=sql.SQL(", ").join(counts)), {**params, "words": list(words)}


def best_texts(collection: CollectionRef, worths: Mapping[str, int], filter: Filter | None) -> Statement:
    """The `limit` best by their words (id, words), as `text_ranking.ranked` orders them, that are not in `exclude`."""
    words, named = _bound("word", list(worths))
    worth, valued = _bound("worth", list(worths.values()))
    where, params = _where(collection, filter)
    has = sql.SQL("CASE WHEN words @> ARRAY[{}::text] THEN {}::bigint ELSE 0 END")
    query = sql.SQL(
        "SELECT item_id, words FROM items"
        " WHERE {where} AND words && %(words)s::text[] AND item_id <> ALL (%(exclude)s::text[])"
        " ORDER BY {score} DESC, cardinality(words), item_id LIMIT %(limit)s"
    )
    score = sql.SQL(" + ").join([has.format(*pair) for pair in zip(words, worth, strict=True)])
    return query.format(where=where, score=score), {**params, **named, **valued, "words": list(worths)}


def sample(collection: CollectionRef) -> sql.Composed:
    """`limit` vectors in the order of their ids' hashes."""
    where, _ = _where(collection, None)
    return sql.SQL(
        "SELECT embedding FROM items WHERE {} ORDER BY hashtextextended(item_id, 0), item_id LIMIT %(limit)s"
    ).format(where)


def copies(collection: CollectionRef) -> sql.Composed:
    """Items with one of `files` or `pixels` for their hash: the first of each two hashes, and those of `apart`."""
    where, _ = _where(collection, None)
    return sql.SQL(
        "SELECT min(item_id), fingerprint ->> 'file_hash', fingerprint ->> 'pixel_hash' FROM items"
        " WHERE {} AND ((fingerprint ->> 'file_hash') = ANY (%(files)s::text[])"
        " OR (fingerprint ->> 'pixel_hash') = ANY (%(pixels)s::text[]))"
        " GROUP BY 2, 3, CASE WHEN item_id = ANY (%(apart)s::text[]) THEN item_id END ORDER BY 1"
    ).format(where)


def _bound(name: str, values: Sequence[Any]) -> tuple[list[sql.Placeholder], dict[str, Any]]:
    """A placeholder a value, and the parameters."""
    names = [f"{name}_{position}" for position in range(len(values))]
    return [sql.Placeholder(each) for each in names], dict(zip(names, values, strict=True))


def _where(collection: CollectionRef, filter: Filter | None) -> Statement:
    mine = sql.SQL("{} AND {}").format(in_collection(collection), LIVE)
    if filter is None:
        return mine, {}
    condition, params = compile_sql(filter, sql.SQL("payload"))
    return sql.SQL("{} AND {}").format(mine, condition), params
