"""A vector store in memory: exact, with the reference filter. The contract suite holds it to the same promises."""

import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.errors import LeaseLost
from shared.images.fingerprint import Fingerprint
from shared.vectors.copies import few_of
from shared.vectors.fencing import build_id, collection_gone
from shared.vectors.filter_nodes import AllOf, Filter, matches
from shared.vectors.points import check_json, check_text, check_vector, check_version, checked_points, payload_json
from shared.vectors.protocol import CollectionRef, Copy, Fence, Hit, Page, Point, StoredPoint, TextHit, Vector
from shared.vectors.text_ranking import ranked, sought, worths
from shared.vectors.words import words as words_of


class MemoryVectorStore:
    """See `VectorStore`. `owns_job`: whether an attempt still owns its job; `has_collection`: whether the collection's
    row is still there; `move_version`: moves its version after a write. By default they all do and are, and nothing
    is moved.
    """

    def __init__(
        self,
        owns_job: Callable[[Fence], bool] = lambda _: True,
        has_collection: Callable[[CollectionRef], bool] = lambda _: True,
        move_version: Callable[[CollectionRef], None] = lambda _: None,
    ) -> None:
        self._owns_job = owns_job
        self._has_collection = has_collection
        self.move_version = move_version
        self._collections: dict[uuid.UUID, dict[str, StoredPoint]] = {}
        self._deleted: dict[tuple[uuid.UUID, str], int] = {}

    def create_collection(self, collection: CollectionRef, schema: Mapping[str, str] | None = None) -> None:
        self._collections.setdefault(collection.id, {})

    def drop_collection(self, collection: CollectionRef) -> None:
        self._collections.pop(collection.id, None)
        self._deleted = {key: version for key, version in self._deleted.items() if key[0] != collection.id}

    def drop_pages(self, collection: CollectionRef) -> Iterator[int]:
        count = len(self._items(collection))
        self.drop_collection(collection)
        yield count

    def copy_deletes(self, source: CollectionRef, target: CollectionRef, *, fence: Fence | None = None) -> None:
        self._check(target, fence)
        for (owner, id), version in list(self._deleted.items()):
            if owner == source.id:
                self.delete(target, [id], version=version, fence=fence)

    def upsert(self, collection: CollectionRef, points: Sequence[Point], *, fence: Fence | None = None) -> None:
        chosen = checked_points(collection, points)
        for point in chosen:
            check_json(point)
        self._check(collection, fence)
        for point in chosen:
            if self._version(collection, point.id) <= point.version:
                self._deleted.pop((collection.id, point.id), None)
                self._items(collection)[point.id] = StoredPoint(
                    point.id,
                    dict(point.payload),
                    point.text,
                    point.content_hash,
                    point.version,
                    point.vector,
                    point.image,
                    point.fingerprint,
                )
        self.move_version(collection)

    def touch(
        self, collection: CollectionRef, hashes: Mapping[str, str], *, version: int, fence: Fence | None = None
    ) -> set[str]:
        self._check(collection, fence)
        items = self._items(collection)
        same = {id for id, hash in hashes.items() if id in items and items[id].content_hash == hash}
        for id in same:
            items[id] = replace(items[id], version=max(items[id].version, version))
        return same

    def delete(
        self, collection: CollectionRef, ids: Collection[str], *, version: int | None = None, fence: Fence | None = None
    ) -> None:
        self._check(collection, fence)
        for id in ids:
            if version is None or self._version(collection, id) <= version:
                self._items(collection).pop(id, None)
                if version is not None:
                    self._deleted[collection.id, id] = version
        self.move_version(collection)

    def delete_where(self, collection: CollectionRef, filter: Filter, *, version: int | None = None) -> None:
        found = [point.id for point in self._items(collection).values() if matches(filter, point.payload)]
        self.delete(collection, found, version=version)

    def forget_deleted(self, collection: CollectionRef, *, before_version: int) -> None:
        self._deleted = {
            key: version
            for key, version in self._deleted.items()
            if key[0] != collection.id or version >= before_version
        }

    def get(
        self, collection: CollectionRef, ids: Collection[str], *, with_vectors: bool = False
    ) -> dict[str, StoredPoint]:
        items = self._items(collection)
        return {id: _shown(items[id], with_vectors) for id in ids if id in items}

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
        unit = vector / np.linalg.norm(vector)
        found = [point for point in self._matching(collection, filter) if point.id not in exclude_ids]
        hits = [
            Hit(
                point.id,
                _cosine(unit, point),
                point.payload if with_payloads else {},
                point.text if with_payloads else None,
                point.vector if with_vectors else None,
            )
            for point in found
        ]
        hits.sort(key=lambda hit: (-hit.score, hit.id))
        return [hit for hit in hits if min_score is None or hit.score >= min_score][offset : offset + top_k]

    def search_text(
        self,
        collection: CollectionRef,
        words: Sequence[str],
        *,
        top_k: int,
        filter: Filter | None = None,
        exclude_ids: Collection[str] = (),
    ) -> list[TextHit]:
        texts = {point.id: words_of(point.text) for point in self._matching(collection, None) if point.text is not None}
        found = {word: sum(word in text for text in texts.values()) for word in sought(words)}
        wanted = {point.id for point in self._matching(collection, filter)} - set(exclude_ids)
        candidates = [(id, text) for id, text in texts.items() if id in wanted and not found.keys().isdisjoint(text)]
        return ranked(candidates, worths(found, self.count(collection)), top_k)

    def sample(self, collection: CollectionRef, size: int) -> NDArray[np.float32]:
        chosen = sorted(self._items(collection).values(), key=lambda point: uuid.uuid5(collection.id, point.id))[:size]
        return np.array([point.vector for point in chosen], dtype=np.float32).reshape(-1, collection.dimension)

    def copies(
        self, collection: CollectionRef, fingerprints: Sequence[Fingerprint], *, apart: Collection[str] = ()
    ) -> list[Copy]:
        files = {each.file_hash for each in fingerprints}
        pixels = {each.pixel_hash for each in fingerprints}
        found = [
            Copy(point.id, point.fingerprint.file_hash, point.fingerprint.pixel_hash)
            for point in self._items(collection).values()
            if point.fingerprint and (point.fingerprint.file_hash in files or point.fingerprint.pixel_hash in pixels)
        ]
        return few_of(found, apart)

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
        payload_json(id, payload)
        check_text(id, text)
        check_version(id, version)
        stored = self._items(collection).get(id)
        if stored is None or stored.version != expected_version or version < expected_version:
            return False
        changed = replace(stored, payload=dict(payload), text=text, version=version, content_hash=None)
        self._items(collection)[id] = changed
        self.move_version(collection)
        return True

    def list_items(
        self,
        collection: CollectionRef,
        *,
        filter: Filter | None = None,
        limit: int = 100,
        cursor: str | None = None,
        with_vectors: bool = False,
    ) -> Page:
        found = sorted(self._matching(collection, filter), key=lambda point: point.id)
        rest = [_shown(point, with_vectors) for point in found if point.id > (cursor or "")]
        return Page(rest[:limit], rest[limit - 1].id if len(rest) > limit else None)

    def count(self, collection: CollectionRef, *, filter: Filter | None = None) -> int:
        return len(self._matching(collection, filter))

    def size_bytes(self, collection: CollectionRef) -> int:
        return len(self._items(collection)) * collection.dimension * 4

    def optimize(self, collection: CollectionRef) -> bool:
        return False

    def ping(self) -> None:
        """Always there."""

    def _check(self, collection: CollectionRef, fence: Fence | None) -> None:
        if fence is not None and not self._owns_job(fence):
            raise LeaseLost(f"attempt {fence.attempt} no longer owns job {fence.job_id}")
        if fence is None or collection.id == build_id(fence.job_id):
            return
        if not self._has_collection(collection):
            raise collection_gone()

    def _items(self, collection: CollectionRef) -> dict[str, StoredPoint]:
        return self._collections.setdefault(collection.id, {})

    def _version(self, collection: CollectionRef, id: str) -> int:
        stored = self._items(collection).get(id)
        return stored.version if stored else self._deleted.get((collection.id, id), -1)

    def _matching(self, collection: CollectionRef, filter: Filter | None) -> list[StoredPoint]:
        wanted = filter or AllOf(())
        return [point for point in self._items(collection).values() if matches(wanted, point.payload)]


def _shown(point: StoredPoint, with_vectors: bool) -> StoredPoint:
    return point if with_vectors else replace(point, vector=None)


def _cosine(unit: Vector, point: StoredPoint) -> float:
    assert point.vector is not None
    return float(np.dot(unit, point.vector)) / float(np.linalg.norm(point.vector))
