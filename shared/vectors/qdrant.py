"""The vector store over Qdrant (server >= 1.16): one Qdrant collection each, writes made conditional on the version."""

import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from qdrant_client import QdrantClient, models

from shared.database.pool import Pool
from shared.errors import FieldFault, InvalidInput
from shared.images.fingerprint import Fingerprint
from shared.settings import Settings
from shared.vectors import qdrant_points as points_of
from shared.vectors.copies import few_of
from shared.vectors.fencing import Fencing
from shared.vectors.filter_nodes import Filter
from shared.vectors.points import check_json, check_text, check_vector, check_version, checked_points, payload_json
from shared.vectors.protocol import CollectionRef, Copy, Fence, Hit, Page, Point, StoredPoint, TextHit, Vector
from shared.vectors.qdrant_server import QdrantServer, name_of
from shared.vectors.text_ranking import ranked, sought, worths

CHUNK = 256
"""Points a request: at 2,000 components some 10 MB of JSON, under the server's default limit of 32 MB."""
TIMEOUT = 30
"""Seconds that a request may take."""
SLACK = 32
"""Hits fetched beyond the last one wanted, so that equal scores at the edge can be ordered by id."""
MAX_CANDIDATES = 10_000
"""Items that a text search ranks; reading one takes some 10 microseconds."""
INDEX_OVERHEAD = 1.5
"""Memory of vectors with their graph, against the vectors alone (Qdrant's guide to capacity planning)."""

T = TypeVar("T")


def open_qdrant(settings: Settings, pool: Pool) -> "QdrantVectorStore":
    """The store at QDRANT_URL; `pool` reaches the rows that are held while an attempt writes."""
    key = settings.qdrant_api_key.get_secret_value() if settings.qdrant_api_key else None
    client = QdrantClient(url=settings.qdrant_url, api_key=key, timeout=TIMEOUT, check_compatibility=False)
    return QdrantVectorStore(client, Fencing(pool))


class QdrantVectorStore:
    """See `VectorStore`. `index_payloads`: whether payload indexes are made; `max_candidates`: `MAX_CANDIDATES`."""

    def __init__(
        self,
        client: QdrantClient,
        fencing: Fencing,
        *,
        index_payloads: bool = True,
        max_candidates: int = MAX_CANDIDATES,
    ) -> None:
        self._server = QdrantServer(client, index_payloads=index_payloads)
        self._fencing = fencing
        self._max_candidates = max_candidates

    def create_collection(self, collection: CollectionRef, schema: Mapping[str, str] | None = None) -> None:
        self._server.create(collection, points_of.payload_indexes(schema or {}))

    def drop_collection(self, collection: CollectionRef) -> None:
        self._server.read(lambda: self._server.client.delete_collection(name_of(collection)), missing=False)

    def drop_pages(self, collection: CollectionRef) -> Iterator[int]:
        """In one step: Qdrant removes the files of a collection, whatever its size."""
        items = self._count(collection, models.Filter())
        self.drop_collection(collection)
        yield items

    def copy_deletes(self, source: CollectionRef, target: CollectionRef, *, fence: Fence | None = None) -> None:
        for records in self._pages(source, models.Filter(must=points_of.LIVE)):
            by_version: dict[int, list[models.PointStruct]] = {}
            for point in map(points_of.to_stored, records):
                mark = points_of.deleted(target, point.id, point.version)
                by_version.setdefault(point.version, []).append(mark)
            with self._fencing.writing(target, fence):
                for version, marks in by_version.items():
                    self._put(target, marks, version)

    def upsert(self, collection: CollectionRef, points: Sequence[Point], *, fence: Fence | None = None) -> None:
        chosen = checked_points(collection, points)
        for point in chosen:
            check_json(point)
        by_version: dict[int, list[models.PointStruct]] = {}
        for point in chosen:
            by_version.setdefault(point.version, []).append(points_of.to_qdrant(collection, point))
        with self._fencing.writing(collection, fence):
            for version, structs in by_version.items():
                self._put(collection, structs, version)

    def touch(
        self, collection: CollectionRef, hashes: Mapping[str, str], *, version: int, fence: Fence | None = None
    ) -> set[str]:
        with self._fencing.held(collection, fence):
            stored = self.get(collection, hashes)
            same = {id for id, point in stored.items() if point.content_hash == hashes[id]}
            for chunk in _chunks(sorted(same)):
                ids = models.HasIdCondition(has_id=[points_of.point_id(collection, id) for id in chunk])
                chosen = points_of.live(None, ids, points_of.not_above(version))
                fields = points_of.version_fields(version)
                self._server.write(collection, partial(self._server.client.set_payload, payload=fields, points=chosen))
            # Another job may have come in between; from here on none that was submitted earlier can.
            confirmed = self.content_hashes(collection, same)
            self._fencing.move_touches(collection)
        if any(stored[id].version == version for id in same):
            # An earlier attempt of the same job wrote them, and may have died before it could say so.
            self._fencing.move_version(collection)
        return {id for id, hash in confirmed.items() if hash == hashes[id]}

    def delete(
        self, collection: CollectionRef, ids: Collection[str], *, version: int | None = None, fence: Fence | None = None
    ) -> None:
        with self._fencing.writing(collection, fence):
            if version is not None:
                marks = [points_of.deleted(collection, id, version) for id in sorted(set(ids))]
                self._put(collection, marks, version)
            else:
                chosen: list[models.ExtendedPointId] = [points_of.point_id(collection, id) for id in ids]
                self._erase(collection, models.PointIdsList(points=chosen))

    def delete_where(self, collection: CollectionRef, filter: Filter, *, version: int | None = None) -> None:
        if version is None:
            with self._fencing.writing(collection, None):
                self._erase(collection, points_of.live(filter))
            return
        cursor: str | None = None
        while True:
            page = self.list_items(collection, filter=filter, limit=CHUNK, cursor=cursor)
            self.delete(collection, [point.id for point in page.points], version=version)
            cursor = page.next_cursor
            if cursor is None:
                return

    def forget_deleted(self, collection: CollectionRef, *, before_version: int) -> None:
        if before_version > 0:
            marks = models.Filter(must=[*points_of.LIVE, points_of.not_above(before_version - 1)])
            self._erase(collection, marks)

    def get(
        self, collection: CollectionRef, ids: Collection[str], *, with_vectors: bool = False
    ) -> dict[str, StoredPoint]:
        records = self._retrieve(collection, ids, with_vectors)
        return {point.id: point for point in map(points_of.to_stored, records)}

    def content_hashes(self, collection: CollectionRef, ids: Collection[str]) -> dict[str, str]:
        found = self.get(collection, ids)
        return {id: point.content_hash for id, point in found.items() if point.content_hash is not None}

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
        wanted = self._without(collection, points_of.live(filter), exclude_ids)
        last = offset + top_k
        is_whole = offset == 0
        shown = {"with_payloads": with_payloads, "with_vectors": with_vectors}
        hits = self._query(collection, vector, wanted, last + SLACK, **(shown if is_whole else {}))
        if not _settled(hits, last, last + SLACK):
            hits, is_whole = self._nearest(collection, vector, wanted, last), False
        page = [hit for hit in hits[offset:last] if min_score is None or hit.score >= min_score]
        return page if is_whole or not any(shown.values()) else self._filled(collection, page, **shown)

    def search_text(
        self,
        collection: CollectionRef,
        words: Sequence[str],
        *,
        top_k: int,
        filter: Filter | None = None,
        exclude_ids: Collection[str] = (),
    ) -> list[TextHit]:
        """Exact as long as no more than `MAX_CANDIDATES` items have one of the words. Of more, those with the rarest
        words are ranked.
        """
        found = {
            word: self._count(collection, points_of.live(None, points_of.with_word(word))) for word in sought(words)
        }
        worth = worths(found, self.count(collection)) if any(found.values()) else {}
        wanted = self._without(collection, points_of.live(filter), exclude_ids)
        return ranked(self._with_words(collection, list(worth), wanted), worth, top_k)

    def sample(self, collection: CollectionRef, size: int) -> NDArray[np.float32]:
        """In the order of the points' ids, which are hashes."""
        vectors: list[Vector] = []
        for records in self._pages(collection, points_of.live(None), size, with_vectors=True):
            vectors += [point.vector for point in map(points_of.to_stored, records) if point.vector is not None]
        return np.array(vectors, dtype=np.float32).reshape(-1, collection.dimension)

    def copies(
        self, collection: CollectionRef, fingerprints: Sequence[Fingerprint], *, apart: Collection[str] = ()
    ) -> list[Copy]:
        def found() -> Iterator[Copy]:
            for chunk in _chunks(list(fingerprints)):
                wanted = points_of.live(None, points_of.copies_of(chunk))
                for records in self._pages(collection, wanted, fields=["id", "fingerprint"]):
                    yield from map(points_of.to_copy, records)

        return few_of(found(), apart)

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
        """False also when a later write came before this one could be seen to have worked."""
        payload_json(id, payload)
        check_text(id, text)
        check_version(id, version)
        stored = self.get(collection, [id]).get(id)
        if stored is None or stored.version != expected_version or version < expected_version:
            return False
        fields = points_of.content_fields(payload, text) | points_of.version_fields(version) | {"hash": None}
        mine = models.HasIdCondition(has_id=[points_of.point_id(collection, id)])
        chosen = points_of.live(None, mine, points_of.exactly(expected_version))
        with self._fencing.writing(collection, None):
            self._server.write(collection, partial(self._server.client.set_payload, payload=fields, points=chosen))
        after = self.get(collection, [id]).get(id)
        return after is not None and after.version == version

    def list_items(
        self,
        collection: CollectionRef,
        *,
        filter: Filter | None = None,
        limit: int = 100,
        cursor: str | None = None,
        with_vectors: bool = False,
    ) -> Page:
        after = _parsed(cursor)
        records, following = self._server.read(
            lambda: self._server.client.scroll(
                name_of(collection),
                scroll_filter=points_of.live(filter),
                limit=limit,
                offset=after,
                with_vectors=with_vectors,
            ),
            missing=([], None),
        )
        return Page([points_of.to_stored(record) for record in records], None if following is None else str(following))

    def count(self, collection: CollectionRef, *, filter: Filter | None = None) -> int:
        return self._count(collection, points_of.live(filter))

    def size_bytes(self, collection: CollectionRef) -> int:
        """Vectors with their index; Qdrant does not tell what payloads take."""
        return int(self.count(collection) * collection.dimension * 4 * INDEX_OVERHEAD)

    def optimize(self, collection: CollectionRef) -> bool:
        """Nothing to do: Qdrant indexes by itself."""
        return False

    def ping(self) -> None:
        self._server.ping()

    def _count(self, collection: CollectionRef, wanted: models.Filter) -> int:
        call = partial(self._server.client.count, name_of(collection), count_filter=wanted, exact=True)
        return self._server.read(lambda: call().count, missing=0)

    def _without(self, collection: CollectionRef, wanted: models.Filter, ids: Collection[str]) -> models.Filter:
        if not ids:
            return wanted
        excluded = models.HasIdCondition(has_id=[points_of.point_id(collection, id) for id in ids])
        return models.Filter(must=[wanted], must_not=[excluded])

    def _with_words(
        self, collection: CollectionRef, words: Sequence[str], wanted: models.Filter
    ) -> Iterator[tuple[str, list[str]]]:
        """Up to `MAX_CANDIDATES` wanted items (id, words) that have one of `words`: those with the first one first."""
        left = self._max_candidates
        for position, word in enumerate(words):
            seen: list[models.Condition] = [points_of.with_word(earlier) for earlier in words[:position]]
            fresh = models.Filter(must=[wanted, points_of.with_word(word)], must_not=seen)
            for records in self._pages(collection, fresh, left, fields=["id", points_of.WORDS]):
                left -= len(records)
                yield from ((payload["id"], payload[points_of.WORDS]) for payload in map(_payload, records))

    def _pages(
        self,
        collection: CollectionRef,
        wanted: models.Filter,
        size: int | None = None,
        *,
        fields: list[str] | bool = True,
        with_vectors: bool = False,
    ) -> Iterator[list[models.Record]]:
        """All points that are wanted, or `size` of them, by their id in Qdrant."""
        after: Any = None
        while size is None or size > 0:
            scroll = partial(self._server.client.scroll, name_of(collection), scroll_filter=wanted, offset=after)
            limit = CHUNK if size is None else min(CHUNK, size)
            call = partial(scroll, limit=limit, with_payload=fields, with_vectors=with_vectors)
            records, after = self._server.read(call, missing=([], None))
            yield records
            if after is None:
                return
            size = None if size is None else size - len(records)

    def _nearest(self, collection: CollectionRef, vector: Vector, wanted: models.Filter, last: int) -> list[Hit]:
        """The `last` best hits, in order, chosen from all that tie with the last of them. Any number may tie, so of
        these only the ids are read.
        """
        limit = 2 * (last + SLACK)
        while not _settled(hits := self._query(collection, vector, wanted, limit), last, limit):
            limit *= 2
        return hits[:last]

    def _query(
        self,
        collection: CollectionRef,
        vector: Vector,
        wanted: models.Filter,
        limit: int,
        *,
        with_payloads: bool = False,
        with_vectors: bool = False,
    ) -> list[Hit]:
        """Up to `limit` hits, best first, those of equal scores by id."""
        query = partial(self._server.client.query_points, name_of(collection), query=vector.tolist(), limit=limit)
        shown = partial(query, using=points_of.VECTOR, query_filter=wanted, with_vectors=with_vectors)
        answer = self._server.read(partial(shown, with_payload=True if with_payloads else ["id"]), missing=None)
        return sorted(map(points_of.to_hit, answer.points if answer else []), key=lambda hit: (-hit.score, hit.id))

    def _filled(
        self, collection: CollectionRef, hits: Sequence[Hit], *, with_payloads: bool, with_vectors: bool
    ) -> list[Hit]:
        """Hits of which only the ids were read, with what is stored. Those that went meanwhile are left out."""
        stored = self.get(collection, [hit.id for hit in hits], with_vectors=with_vectors)
        found = [(hit, stored[hit.id]) for hit in hits if hit.id in stored]
        if not with_payloads:
            return [replace(hit, vector=point.vector) for hit, point in found]
        return [Hit(hit.id, hit.score, point.payload, point.text, point.vector) for hit, point in found]

    def _retrieve(self, collection: CollectionRef, ids: Collection[str], with_vectors: bool) -> list[models.Record]:
        records: list[models.Record] = []
        for chunk in _chunks([points_of.point_id(collection, id) for id in ids]):
            found = partial(self._server.client.retrieve, name_of(collection), chunk, with_vectors=with_vectors)
            records += self._server.read(found, missing=[])
        return [record for record in records if not points_of.is_deleted(record)]

    def _put(self, collection: CollectionRef, structs: list[models.PointStruct], version: int) -> None:
        """Write points of one version over what is not above it."""
        for chunk in _chunks(structs):
            self._server.write(
                collection,
                partial(self._server.client.upsert, points=chunk, update_filter=points_of.not_above(version)),
            )

    def _erase(self, collection: CollectionRef, chosen: models.Filter | models.PointIdsList) -> None:
        selector = models.FilterSelector(filter=chosen) if isinstance(chosen, models.Filter) else chosen
        self._server.read(
            lambda: self._server.client.delete(name_of(collection), points_selector=selector), missing=None
        )


def _settled(hits: list[Hit], last: int, limit: int) -> bool:
    """Whether nothing beyond these hits can tie with the last one wanted."""
    return len(hits) < limit or hits[-1].score < hits[last - 1].score


def _chunks(items: list[T]) -> Iterator[list[T]]:
    return (items[start : start + CHUNK] for start in range(0, len(items), CHUNK))


def _parsed(cursor: str | None) -> str | None:
    try:
        return None if cursor is None else str(uuid.UUID(cursor))
    except ValueError as error:
        fault = FieldFault("cursor", "is none that this list gave out")
        raise InvalidInput("The cursor cannot be used.", faults=(fault,)) from error


def _payload(record: models.Record) -> dict[str, Any]:
    return record.payload or {}
