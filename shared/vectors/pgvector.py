"""The vector store inside Postgres (pgvector >= 0.8): one table, exact scans, HNSW for large collections."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import psycopg
from numpy.typing import NDArray
from pgvector.psycopg.vector import register_vector_info
from psycopg import sql
from psycopg.rows import tuple_row
from psycopg.types import TypeInfo
from psycopg_pool import ConnectionPool

from shared.errors import ConfigurationError
from shared.images.fingerprint import Fingerprint
from shared.vectors import pgvector_index as hnsw
from shared.vectors import pgvector_sql as statements
from shared.vectors.fencing import hold, hold_collection, move_touches, move_version, postgres_reachable
from shared.vectors.filter_nodes import Filter
from shared.vectors.points import (
    check_text,
    check_vector,
    check_version,
    checked_points,
    fingerprint_json,
    image_json,
    payload_json,
)
from shared.vectors.protocol import CollectionRef, Copy, Fence, Hit, Page, Point, StoredPoint, TextHit, Vector
from shared.vectors.text_ranking import ranked, sought, worths
from shared.vectors.words import words as words_of

INDEX_THRESHOLD = 5_000
"""Items above which a collection gets an HNSW index; an exact scan of fewer takes a few milliseconds."""
DROP_PAGE = 5_000
"""Items of a dropped collection that one statement deletes: each is short, whatever the collection's size."""
MAX_SCAN_TUPLES = 20_000
"""Entries that an index scan visits for a filter before the search falls back to an exact one."""
MIN_EF_SEARCH, MAX_EF_SEARCH = 100, 1_000
"""pgvector takes 1 to 1,000."""

Cursor = psycopg.Cursor[tuple[Any, ...]]


class PgVectorStore:
    """See `VectorStore`. `pool` is lent: whoever opened it closes it. Tables: `shared/database/vector_tables.py`."""

    def __init__(self, pool: ConnectionPool[Any], *, index_threshold: int = INDEX_THRESHOLD) -> None:
        self._pool = pool
        self._index_threshold = index_threshold
        self._vector_type: TypeInfo | None = None

    def create_collection(self, collection: CollectionRef, schema: Mapping[str, str] | None = None) -> None:
        """Nothing to do: a collection is the rows that carry its id, and one index serves the payloads of all."""

    def drop_collection(self, collection: CollectionRef) -> None:
        for _ in self.drop_pages(collection):
            pass

    def drop_pages(self, collection: CollectionRef) -> Iterator[int]:
        with postgres_reachable():
            hnsw.drop(self._pool, collection)
        page, after = statements.drop_page(collection), ""
        while True:
            with self._transaction() as cursor:
                row = cursor.execute(page, {"after": after, "page": DROP_PAGE}, prepare=False).fetchone()
            after, count = row or (None, 0)
            if after is None:
                return
            yield count

    def copy_deletes(self, source: CollectionRef, target: CollectionRef, *, fence: Fence | None = None) -> None:
        with self._writing(target, fence) as cursor:
            cursor.execute(statements.COPY_DELETES, {"source": source.id, "target": target.id}, prepare=False)

    def upsert(self, collection: CollectionRef, points: Sequence[Point], *, fence: Fence | None = None) -> None:
        chosen = checked_points(collection, points)
        rows = {
            "collection": collection.id,
            "ids": [point.id for point in chosen],
            "vectors": [np.asarray(point.vector, dtype=np.float32) for point in chosen],
            "payloads": [payload_json(point.id, point.payload) for point in chosen],
            "texts": [point.text for point in chosen],
            "words": [None if point.text is None else " ".join(words_of(point.text)) for point in chosen],
            "hashes": [point.content_hash for point in chosen],
            "images": [image_json(point) for point in chosen],
            "fingerprints": [fingerprint_json(point) for point in chosen],
            "versions": [point.version for point in chosen],
        }
        with self._writing(collection, fence) as cursor:
            if chosen:
                cursor.execute(statements.UPSERT, rows, prepare=False)

    def touch(
        self, collection: CollectionRef, hashes: Mapping[str, str], *, version: int, fence: Fence | None = None
    ) -> set[str]:
        params = {"collection": collection.id, "ids": list(hashes), "hashes": list(hashes.values()), "version": version}
        with self._transaction(collection, fence) as cursor:
            confirmed = {id for (id,) in cursor.execute(statements.TOUCH, params, prepare=False)}
            move_touches(cursor.connection, collection)
        return confirmed

    def delete(
        self, collection: CollectionRef, ids: Collection[str], *, version: int | None = None, fence: Fence | None = None
    ) -> None:
        params = {"collection": collection.id, "ids": sorted(set(ids)), "version": version}
        with self._writing(collection, fence) as cursor:
            cursor.execute(statements.DELETE if version is None else statements.MARK_DELETED, params, prepare=False)

    def delete_where(self, collection: CollectionRef, filter: Filter, *, version: int | None = None) -> None:
        query, params = statements.delete_where(collection, filter, marked=version is not None)
        with self._writing(collection) as cursor:
            cursor.execute(query, {**params, "version": version}, prepare=False)

    def forget_deleted(self, collection: CollectionRef, *, before_version: int) -> None:
        with self._transaction() as cursor:
            params = {"collection": collection.id, "version": before_version}
            cursor.execute(statements.FORGET_DELETED, params, prepare=False)

    def get(
        self, collection: CollectionRef, ids: Collection[str], *, with_vectors: bool = False
    ) -> dict[str, StoredPoint]:
        params = {"collection": collection.id, "ids": list(ids)}
        with self._transaction() as cursor:
            rows = cursor.execute(statements.get(with_vectors), params, prepare=False).fetchall()
        return {row[0]: _stored(row) for row in rows}

    def content_hashes(self, collection: CollectionRef, ids: Collection[str]) -> dict[str, str]:
        params = {"collection": collection.id, "ids": list(ids)}
        with self._transaction() as cursor:
            return dict(cursor.execute(statements.CONTENT_HASHES, params, prepare=False).fetchall())

    def search(
        self,
        collection: CollectionRef,
        vector: Vector,
        *,
        top_k: int,
        offset: int = 0,
        filter: Filter | None = None,
        min_score: float | None = None,
        with_vectors: bool = False,
        with_payloads: bool = True,
        exclude_ids: Collection[str] = (),
    ) -> list[Hit]:
        check_vector(collection, vector, "The query vector")
        common = {"vector": np.asarray(vector, dtype=np.float32), "exclude": list(exclude_ids)}
        common |= {"limit": top_k, "offset": offset}
        shown = {"with_vectors": with_vectors, "with_payloads": with_payloads}
        with self._transaction() as cursor:
            cursor.execute(statements.TUNE_SCAN, _scan_settings(offset + top_k), prepare=False)
            query, params = statements.nearest(collection, filter, exact=False, **shown)
            rows = cursor.execute(query, {**params, **common}, prepare=False).fetchall()
            # The index may have given up on a selective filter before it found enough.
            if len(rows) < top_k and hnsw.is_ready(cursor.connection, collection):
                query, params = statements.nearest(collection, filter, exact=True, **shown)
                rows = cursor.execute(query, {**params, **common}, prepare=False).fetchall()
        hits = sorted((_hit(row) for row in rows), key=lambda hit: (-hit.score, hit.id))
        return [hit for hit in hits if min_score is None or hit.score >= min_score]

    def search_text(
        self,
        collection: CollectionRef,
        words: Sequence[str],
        *,
        top_k: int,
        filter: Filter | None = None,
        exclude_ids: Collection[str] = (),
    ) -> list[TextHit]:
        looked_for = sought(words)
        if not looked_for:
            return []
        with self._transaction() as cursor:
            query, params = statements.word_counts(collection, looked_for)
            items, *counts = cursor.execute(query, params, prepare=False).fetchall()[0]
            worth = worths(dict(zip(looked_for, counts, strict=True)), items)
            if not worth:
                return []
            query, params = statements.best_texts(collection, worth, filter)
            params |= {"exclude": list(exclude_ids), "limit": top_k}
            return ranked(cursor.execute(query, params, prepare=False), worth, top_k)

    def sample(self, collection: CollectionRef, size: int) -> NDArray[np.float32]:
        """In the order of a hash of the ids."""
        with self._transaction() as cursor:
            rows = cursor.execute(statements.sample(collection), {"limit": size}, prepare=False).fetchall()
        return np.array([vector.to_numpy() for (vector,) in rows], dtype=np.float32).reshape(-1, collection.dimension)

    def copies(
        self, collection: CollectionRef, fingerprints: Sequence[Fingerprint], *, apart: Collection[str] = ()
    ) -> list[Copy]:
        params = {
            "files": [fingerprint.file_hash for fingerprint in fingerprints],
            "pixels": [fingerprint.pixel_hash for fingerprint in fingerprints],
            "apart": list(apart),
        }
        with self._transaction() as cursor:
            return [Copy(*row) for row in cursor.execute(statements.copies(collection), params, prepare=False)]

    def replace_payload(
        self,
        collection: CollectionRef,
        id: str,
        *,
        payload: Mapping[str, Any],
        text: str | None,
        version: int,
        expected_version: int,
    ) -> bool:
        check_text(id, text)
        check_version(id, version)
        params = {
            "collection": collection.id,
            "id": id,
            "payload": payload_json(id, payload),
            "text": text,
            "words": None if text is None else words_of(text),
            "version": version,
            "expected": expected_version,
        }
        with self._writing(collection) as cursor:
            return cursor.execute(statements.REPLACE_PAYLOAD, params, prepare=False).rowcount == 1

    def list_items(
        self,
        collection: CollectionRef,
        *,
        filter: Filter | None = None,
        limit: int = 100,
        cursor: str | None = None,
        with_vectors: bool = False,
    ) -> Page:
        query, params = statements.list_page(collection, filter, with_vectors)
        with self._transaction() as reader:
            after = {"cursor": cursor or "", "limit": limit + 1}
            rows = reader.execute(query, {**params, **after}, prepare=False).fetchall()
        points = [_stored(row) for row in rows[:limit]]
        return Page(points, points[-1].id if len(rows) > limit else None)

    def count(self, collection: CollectionRef, *, filter: Filter | None = None) -> int:
        query, params = statements.count(collection, filter)
        return int(self._value(query, params))

    def size_bytes(self, collection: CollectionRef) -> int:
        return int(self._value(statements.SIZE, {"collection": collection.id, "index": hnsw.index_name(collection)}))

    def optimize(self, collection: CollectionRef) -> bool:
        """Build the HNSW index of a collection of more than `index_threshold` items.

        The build is fastest while the graph fits into the server's `maintenance_work_mem`. Vectors of more than 2,000
        components cannot be indexed and are always scanned.
        """
        if collection.dimension > hnsw.MAX_DIMENSION:
            return False
        with self._transaction() as cursor:
            if hnsw.is_ready(cursor.connection, collection):
                return False
        if not self._value(statements.holds_more(collection), {"threshold": self._index_threshold}):
            return False
        with postgres_reachable():
            return hnsw.build(self._pool, collection)

    def ping(self) -> None:
        self._value(sql.SQL("SELECT 1"), {})

    def _value(self, query: sql.SQL | sql.Composed, params: dict[str, Any]) -> Any:
        with self._transaction() as cursor:
            row = cursor.execute(query, params, prepare=False).fetchone()
        return row[0] if row else None

    @contextmanager
    def _transaction(self, collection: CollectionRef | None = None, fence: Fence | None = None) -> Iterator[Cursor]:
        """A cursor in a transaction of its own; with a fence, while the attempt keeps its job and the collection."""
        with postgres_reachable(), self._pool.connection() as connection, connection.transaction():
            self._adapt(connection)
            if collection is not None and fence is not None:
                hold(connection, fence, collection)
            with connection.cursor(binary=True, row_factory=tuple_row) as cursor:
                yield cursor

    @contextmanager
    def _writing(self, collection: CollectionRef, fence: Fence | None = None) -> Iterator[Cursor]:
        """As `_transaction`, and last of all the collection's version moves (`fencing.py` tells the order of locks)."""
        with self._transaction(collection, fence) as cursor:
            if fence is None:
                hold_collection(cursor.connection, collection)
            yield cursor
            move_version(cursor.connection, collection)

    def _adapt(self, connection: psycopg.Connection[Any]) -> None:
        """Teach the connection object (not the session) to send and read vectors in binary."""
        if self._vector_type is None:
            self._vector_type = TypeInfo.fetch(connection, "vector")
        if self._vector_type is None:
            raise ConfigurationError("The database has no pgvector: run CREATE EXTENSION vector.")
        register_vector_info(connection, self._vector_type)


def _scan_settings(limit: int) -> dict[str, str]:
    ef_search = min(max(2 * limit, MIN_EF_SEARCH), MAX_EF_SEARCH)
    return {"ef": str(ef_search), "tuples": str(MAX_SCAN_TUPLES)}


def _stored(row: tuple[Any, ...]) -> StoredPoint:
    id, payload, text, content_hash, version, vector, image, fingerprint = row
    return StoredPoint(
        id,
        payload,
        text,
        content_hash,
        version,
        None if vector is None else vector.to_numpy(),
        image,
        None if fingerprint is None else Fingerprint.from_json(fingerprint),
    )


def _hit(row: tuple[Any, ...]) -> Hit:
    id, payload, text, vector, distance = row
    return Hit(id, 1.0 - distance, payload or {}, text, None if vector is None else vector.to_numpy())
