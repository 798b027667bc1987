"""What a vector store can do. Calls block: workers call it directly, the API from a thread pool.

A store knows a collection by its id alone. The id is a UUID that only the tenant's own row in `collections` yields, so
whoever resolves (tenant, name) decides who may read what.

Write order. A point's `version` grows with the time its job was submitted; a write never replaces, and a delete never
removes, what was stored with a higher version: the last submitted wins, whatever order workers run in. A delete with a
version leaves a mark behind, so that an earlier job that runs later cannot bring the item back.

Every write moves the `version` of the collection's row, so that results kept from before are old: pgvector in the
write's own transaction, Qdrant after its write.
"""

import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from shared.images.fingerprint import Fingerprint
from shared.vectors.filter_nodes import Filter

Vector = NDArray[np.float32]
"""Shape (d,), unit length."""


@dataclass(frozen=True)
class CollectionRef:
    """A collection as the store knows it. `id`: its row's `vectors_id`; `dimension`: components of every vector."""

    id: uuid.UUID
    dimension: int


@dataclass(frozen=True)
class Fence:
    """The attempt a write belongs to: when the write happens, it must own its job, and the collection be there."""

    job_id: uuid.UUID
    attempt: int


@dataclass(frozen=True, eq=False)
class Point:
    """An item to store. `id`: 1 to 512 characters; `version`: 0 to 2^60 - 1; `content_hash`: of what made it."""

    id: str
    vector: Vector
    payload: dict[str, Any] = field(default_factory=dict)
    text: str | None = None
    content_hash: str | None = None
    version: int = 0
    image: dict[str, str] | None = None
    """Where its picture is, `{"url": …}` or `{"file": …}`."""
    fingerprint: Fingerprint | None = None


@dataclass(frozen=True, eq=False)
class StoredPoint:
    """An item as it is stored; `vector` only where it was asked for."""

    id: str
    payload: dict[str, Any]
    text: str | None
    content_hash: str | None
    version: int
    vector: Vector | None = None
    image: dict[str, str] | None = None
    fingerprint: Fingerprint | None = None


@dataclass(frozen=True, eq=False)
class Hit:
    """An item that a search found. `score`: cosine, -1 to 1. Without payloads: no payload, and no text."""

    id: str
    score: float
    payload: dict[str, Any]
    text: str | None = None
    vector: Vector | None = None


@dataclass(frozen=True)
class TextHit:
    """An item whose text has words of a query. `score`: the sum of their weights, so that rare words count more."""

    id: str
    score: float


@dataclass(frozen=True)
class Copy:
    """An item by its picture's exact hashes (`shared/images/fingerprint.py`)."""

    id: str
    file_hash: str
    pixel_hash: str


@dataclass(frozen=True)
class Page:
    """Some items; `next_cursor` goes into the next call, None at the end."""

    points: list[StoredPoint]
    next_cursor: str | None


class VectorStore(Protocol):
    """Collections of points.

    Every method raises DependencyUnavailable when the store cannot be reached. Those that take vectors raise
    PermanentJobError: `model_mismatch` for a wrong dimension, `invalid_input` for what cannot be stored.
    """

    def create_collection(self, collection: CollectionRef, schema: Mapping[str, str] | None = None) -> None:
        """Make room for a collection; nothing happens when it is there. `schema`: of its payloads
        (`payload_schema.py`), for a store that indexes declared fields.
        """

    def drop_collection(self, collection: CollectionRef) -> None:
        """Remove a collection with all its points; nothing happens when it is not there."""

    def drop_pages(self, collection: CollectionRef) -> Iterator[int]:
        """`drop_collection` in steps, each as short as the store can make it: yields how many items each removed,
        marks of deletes included. Whoever stops on the way may begin again later.
        """

    def copy_deletes(self, source: CollectionRef, target: CollectionRef, *, fence: Fence | None = None) -> None:
        """Delete in `target` what was deleted in `source`, at the same versions: leaves the same marks."""

    def upsert(self, collection: CollectionRef, points: Sequence[Point], *, fence: Fence | None = None) -> None:
        """Store points, each over what has its id and no higher version.

        Raises LeaseLost, and stores nothing, when `fence` no longer owns its job. Raises PermanentJobError
        (`collection_unknown`) when a fenced write finds the collection deleted.
        """

    def touch(
        self, collection: CollectionRef, hashes: Mapping[str, str], *, version: int, fence: Fence | None = None
    ) -> set[str]:
        """Confirm unchanged items: the ids whose stored content hash is the one given, now stored with `version`
        at least. A job that skips an item has to touch it, or an earlier job that runs later would win over it.
        """

    def delete(
        self, collection: CollectionRef, ids: Collection[str], *, version: int | None = None, fence: Fence | None = None
    ) -> None:
        """Remove items, except those stored with a version above `version`. Without one: all, leaving no mark."""

    def delete_where(self, collection: CollectionRef, filter: Filter, *, version: int | None = None) -> None:
        """Remove the items that match, under the same rule of versions as `delete`."""

    def forget_deleted(self, collection: CollectionRef, *, before_version: int) -> None:
        """Drop the marks of deletes below a version, once no job submitted before them can still run."""

    def get(
        self, collection: CollectionRef, ids: Collection[str], *, with_vectors: bool = False
    ) -> dict[str, StoredPoint]:
        """The items that exist, by id."""

    def content_hashes(self, collection: CollectionRef, ids: Collection[str]) -> dict[str, str]:
        """The content hashes of the items that exist and have one, by id."""

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
        """The nearest items, best first, equal scores by id. `vector`: (d,), of any length but zero. Of items before
        `offset` nothing but ids and scores is read.
        """

    def search_text(
        self,
        collection: CollectionRef,
        words: Sequence[str],
        *,
        top_k: int,
        filter: Filter | None = None,
        exclude_ids: Collection[str] = (),
    ) -> list[TextHit]:
        """The items whose text has at least one of `words` (of `shared/vectors/words.py`), best first: the sum of the
        matched words' `words.weight`, then the shorter text (in distinct words), then the id.
        """

    def sample(self, collection: CollectionRef, size: int) -> NDArray[np.float32]:
        """Vectors of up to `size` items, `(n, d)`, chosen without regard to what they show. All of them where there
        are no more than that.
        """

    def copies(
        self, collection: CollectionRef, fingerprints: Sequence[Fingerprint], *, apart: Collection[str] = ()
    ) -> list[Copy]:
        """Items with the file hash or the pixel hash of one of these, by id: of those with the same two hashes the
        first alone, since one picture may be that of a million items, and each of `apart`.
        """

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
        """Give an item another payload and text; its vector stays. Its content hash goes: it is no longer what was
        indexed. Returns False, and does nothing, when the item is not there with `expected_version`.
        """

    def list_items(
        self,
        collection: CollectionRef,
        *,
        filter: Filter | None = None,
        limit: int = 100,
        cursor: str | None = None,
        with_vectors: bool = False,
    ) -> Page:
        """A page of items in an order of the store's own that does not change (pgvector: by id), so that an item
        that stays is seen exactly once whatever is written between pages.
        """

    def count(self, collection: CollectionRef, *, filter: Filter | None = None) -> int:
        """The number of items (that match)."""

    def size_bytes(self, collection: CollectionRef) -> int:
        """Bytes that the collection takes, its index included; an estimate."""

    def optimize(self, collection: CollectionRef) -> bool:
        """Build or repair what makes a large collection fast to search. Call it after large writes; it may take
        minutes. Returns whether anything was built.
        """

    def ping(self) -> None:
        """Return when the store answers."""
