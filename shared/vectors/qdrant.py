"""The vector store over Qdrant (server >= 1.16): one Qdrant collection each, writes made conditional on the version."""

import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import ApiException, UnexpectedResponse

from shared.database.pool import Pool
from shared.errors import ConfigurationError, DependencyUnavailable, FieldFault, InvalidInput
from shared.images.fingerprint import Fingerprint
from shared.settings import Settings
from shared.vectors import qdrant_points as points_of
from shared.vectors.fencing import held
from shared.vectors.filter_nodes import Filter
from shared.vectors.points import check_vector, checked_points, payload_json
from shared.vectors.protocol import CollectionRef, Fence, Hit, Page, Point, StoredPoint, TextHit, Vector

CHUNK = 256
"""Points a request: at 2,000 components some 10 MB of JSON, under the server's default limit of 32 MB."""
TIMEOUT = 30
"""Seconds that a request may take."""
SLACK = 32
"""Hits fetched beyond the last one wanted, so that equal scores at the edge can be ordered by id."""
OLDEST_SERVER = (1, 16)
"""The first that knows `update_filter`; an older one would ignore it, and overwrite newer items."""
INDEX_OVERHEAD = 1.5
"""Memory of vectors with their graph, against the vectors alone (Qdrant's guide to capacity planning)."""

T = TypeVar("T")
M = TypeVar("M")
Hold = Callable[[Fence, CollectionRef], AbstractContextManager[None]]


class _Missing(Exception):
    """Qdrant has no such collection."""


def open_qdrant(settings: Settings, pool: Pool) -> "QdrantVectorStore":
    """The store at QDRANT_URL; `pool` reaches the rows that are held while an attempt writes."""
    key = settings.qdrant_api_key.get_secret_value() if settings.qdrant_api_key else None
    client = QdrantClient(url=settings.qdrant_url, api_key=key, timeout=TIMEOUT, check_compatibility=False)
    return QdrantVectorStore(client, partial(held, pool))


class QdrantVectorStore:
    """See `VectorStore`. `hold`: a context in which an attempt keeps its job and the collection, as `fencing.held`.

    Where the collection is missing, reads find nothing and writes create it: the row in `collections` is the truth.
    """

    def __init__(self, client: QdrantClient, hold: Hold, *, index_payloads: bool = True) -> None:
        self._client = client
        self._hold = hold
        self._index_payloads = index_payloads
        self._checked = False

    def create_collection(self, collection: CollectionRef) -> None:
        name = _name(collection)
        with _reachable():
            self._check_server()
            if not self._client.collection_exists(name):
                self._create(name, collection.dimension)

    def drop_collection(self, collection: CollectionRef) -> None:
        self._read(lambda: self._client.delete_collection(_name(collection)), missing=False)

    def upsert(self, collection: CollectionRef, points: Sequence[Point], *, fence: Fence | None = None) -> None:
        chosen = checked_points(collection, points)
        for point in chosen:
            payload_json(point)
        by_version: dict[int, list[models.PointStruct]] = {}
        for point in chosen:
            by_version.setdefault(point.version, []).append(points_of.to_qdrant(collection, point))
        with self._held(collection, fence):
            for version, structs in by_version.items():
                self._put(collection, structs, version)

    def touch(
        self, collection: CollectionRef, hashes: Mapping[str, str], *, version: int, fence: Fence | None = None
    ) -> set[str]:
        with self._held(collection, fence):
            same = self._unchanged(collection, hashes)
            for chunk in _chunks(sorted(same)):
                ids = models.HasIdCondition(has_id=[points_of.point_id(collection, id) for id in chunk])
                chosen = points_of.live(None, ids, points_of.not_above(version))
                fields = points_of.version_fields(version)
                self._write(collection, partial(self._client.set_payload, payload=fields, points=chosen))
            # Another job may have come in between; from here on none that was submitted earlier can.
            return self._unchanged(collection, {id: hashes[id] for id in same})

    def delete(
        self, collection: CollectionRef, ids: Collection[str], *, version: int | None = None, fence: Fence | None = None
    ) -> None:
        with self._held(collection, fence):
            if version is not None:
                marks = [points_of.deleted(collection, id, version) for id in sorted(set(ids))]
                self._put(collection, marks, version)
            else:
                chosen: list[models.ExtendedPointId] = [points_of.point_id(collection, id) for id in ids]
                self._erase(collection, models.PointIdsList(points=chosen))

    def delete_where(self, collection: CollectionRef, filter: Filter, *, version: int | None = None) -> None:
        if version is None:
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
        exclude_ids: Collection[str] = (),
    ) -> list[Hit]:
        check_vector(collection, vector, "The query vector")
        wanted = points_of.live(filter)
        if exclude_ids:
            excluded = models.HasIdCondition(has_id=[points_of.point_id(collection, id) for id in exclude_ids])
            wanted = models.Filter(must=[wanted], must_not=[excluded])
        last = offset + top_k
        hits = self._nearest(collection, vector, wanted, last, with_vectors)
        return [hit for hit in hits[:last] if min_score is None or hit.score >= min_score][offset:]

    def search_text(
        self,
        collection: CollectionRef,
        words: Sequence[str],
        *,
        top_k: int,
        filter: Filter | None = None,
        exclude_ids: Collection[str] = (),
    ) -> list[TextHit]:
        raise NotImplementedError

    def sample(self, collection: CollectionRef, size: int) -> NDArray[np.float32]:
        raise NotImplementedError

    def copies(self, collection: CollectionRef, fingerprints: Sequence[Fingerprint]) -> list[StoredPoint]:
        raise NotImplementedError

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
        raise NotImplementedError

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
        records, following = self._read(
            lambda: self._client.scroll(
                _name(collection),
                scroll_filter=points_of.live(filter),
                limit=limit,
                offset=after,
                with_vectors=with_vectors,
            ),
            missing=([], None),
        )
        return Page([points_of.to_stored(record) for record in records], None if following is None else str(following))

    def count(self, collection: CollectionRef, *, filter: Filter | None = None) -> int:
        wanted = points_of.live(filter)
        return self._read(
            lambda: self._client.count(_name(collection), count_filter=wanted, exact=True).count, missing=0
        )

    def size_bytes(self, collection: CollectionRef) -> int:
        """Vectors with their index; Qdrant does not tell what payloads take."""
        return int(self.count(collection) * collection.dimension * 4 * INDEX_OVERHEAD)

    def optimize(self, collection: CollectionRef) -> bool:
        """Nothing to do: Qdrant indexes by itself."""
        return False

    def ping(self) -> None:
        with _reachable():
            self._client.info()

    def _nearest(
        self, collection: CollectionRef, vector: Vector, wanted: models.Filter, last: int, with_vectors: bool
    ) -> list[Hit]:
        """At least the `last` best hits, in order, with everything that ties with the last of them."""
        limit = last + SLACK
        while True:
            found = partial(self._client.query_points, _name(collection), query=vector.tolist(), limit=limit)
            answer = self._read(
                partial(found, using=points_of.VECTOR, query_filter=wanted, with_vectors=with_vectors),
                missing=None,
            )
            hits = sorted(map(points_of.to_hit, answer.points if answer else []), key=lambda hit: (-hit.score, hit.id))
            if len(hits) < limit or hits[-1].score < hits[last - 1].score:
                return hits
            limit *= 2

    def _unchanged(self, collection: CollectionRef, hashes: Mapping[str, str]) -> set[str]:
        stored = self.content_hashes(collection, hashes)
        return {id for id, hash in hashes.items() if stored.get(id) == hash}

    def _retrieve(self, collection: CollectionRef, ids: Collection[str], with_vectors: bool) -> list[models.Record]:
        records: list[models.Record] = []
        for chunk in _chunks([points_of.point_id(collection, id) for id in ids]):
            found = partial(self._client.retrieve, _name(collection), chunk, with_vectors=with_vectors)
            records += self._read(found, missing=[])
        return [record for record in records if not points_of.is_deleted(record)]

    def _put(self, collection: CollectionRef, structs: list[models.PointStruct], version: int) -> None:
        """Write points of one version over what is not above it."""
        for chunk in _chunks(structs):
            self._write(
                collection, partial(self._client.upsert, points=chunk, update_filter=points_of.not_above(version))
            )

    def _erase(self, collection: CollectionRef, chosen: models.Filter | models.PointIdsList) -> None:
        selector = models.FilterSelector(filter=chosen) if isinstance(chosen, models.Filter) else chosen
        self._read(lambda: self._client.delete(_name(collection), points_selector=selector), missing=None)

    def _create(self, name: str, dimension: int) -> None:
        vectors = {points_of.VECTOR: models.VectorParams(size=dimension, distance=models.Distance.COSINE)}
        try:
            self._client.create_collection(name, vectors_config=vectors)
        except UnexpectedResponse as error:
            if error.status_code != 409:  # another process was faster
                raise
        if self._index_payloads:
            self._client.create_payload_index(name, "deleted", field_schema=models.PayloadSchemaType.BOOL)

    def _check_server(self) -> None:
        if not self._checked:
            version = self._client.info().version
            if tuple(int(part) for part in version.split(".")[:2]) < OLDEST_SERVER:
                needed = ".".join(map(str, OLDEST_SERVER))
                raise ConfigurationError(f"QDRANT_URL leads to Qdrant {version}; {needed} or later is needed.")
            self._checked = True

    def _held(self, collection: CollectionRef, fence: Fence | None) -> AbstractContextManager[None]:
        return nullcontext() if fence is None else self._hold(fence, collection)

    def _read(self, call: Callable[[], T], *, missing: M) -> T | M:
        try:
            with _reachable():
                return call()
        except _Missing:
            return missing

    def _write(self, collection: CollectionRef, call: Callable[..., object]) -> None:
        write = partial(call, _name(collection), ordering=models.WriteOrdering.MEDIUM)
        try:
            with _reachable():
                self._check_server()
                write()
        except _Missing:
            self.create_collection(collection)
            with _reachable():
                write()


@contextmanager
def _reachable() -> Iterator[None]:
    try:
        yield
    except UnexpectedResponse as error:
        if error.status_code == 404:
            raise _Missing from error
        if error.status_code is None or error.status_code in (408, 429) or error.status_code >= 500:
            raise DependencyUnavailable(f"Qdrant does not answer: {error}") from error
        raise
    except ApiException as error:
        raise DependencyUnavailable(f"Qdrant does not answer: {error}") from error
    except ValueError as error:
        # The client's in-process mode has no status codes.
        if str(error).startswith("Collection ") and str(error).endswith("not found"):
            raise _Missing from error
        raise


def _name(collection: CollectionRef) -> str:
    return f"darkroom_{collection.id.hex}"


def _chunks(items: list[T]) -> Iterator[list[T]]:
    return (items[start : start + CHUNK] for start in range(0, len(items), CHUNK))


def _parsed(cursor: str | None) -> str | None:
    try:
        return None if cursor is None else str(uuid.UUID(cursor))
    except ValueError as error:
        fault = FieldFault("cursor", "is none that this list gave out")
        raise InvalidInput("The cursor cannot be used.", faults=(fault,)) from error
