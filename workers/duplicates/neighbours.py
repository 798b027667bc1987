"""Pictures whose vectors are close: among vectors in memory, or in a collection through its store."""

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from usearch.index import Index

from shared.contracts.deduplicate import NEIGHBOURS
from shared.vectors.filter_nodes import Filter
from shared.vectors.protocol import CollectionRef, Hit, VectorStore
from workers.duplicates.components import Indexes
from workers.handlers.entries import slices

Vectors = NDArray[np.float32]
Checkpoint = Callable[[float], None]
"""Called between steps with the share of the work that is done; what it raises ends it all."""

EXACT = 16_384
"""Vectors up to which all are compared with all: 2 s there, when building an index of them takes 15."""
BLOCK = 512
MAX_HITS = 1_000
"""Of one search in a collection, copies and items that are not looked for included."""
_ROUNDING = 1e-6
"""Equal vectors have a cosine that is less than 1 by so much."""


class VectorsInMemory:
    """Unit vectors of all pictures, `(n, d)`."""

    def __init__(self, vectors: Vectors, min_cosine: float, checkpoint: Checkpoint) -> None:
        self._vectors = vectors
        self._least = min_cosine - _ROUNDING
        self._checkpoint = checkpoint

    def pairs(self, among: Sequence[int]) -> Iterator[tuple[Indexes, Indexes]]:
        chosen = np.asarray(among, dtype=np.int64)
        rows = self._vectors[chosen]
        found = self._all(rows) if len(rows) <= EXACT else self._nearest(rows)
        for left, right in found:
            yield chosen[left], chosen[right]
        self._checkpoint(1.0)

    def distances(self, keeper: int, others: Sequence[int]) -> list[float]:
        return _distances(self._vectors[keeper], self._vectors[list(others)])

    def _all(self, rows: Vectors) -> Iterator[tuple[Indexes, Indexes]]:
        for start in range(0, len(rows), BLOCK):
            self._checkpoint(start / len(rows))
            cosines = rows[start : start + BLOCK] @ rows[start:].T
            left, right = np.nonzero(np.triu(cosines >= self._least, k=1))
            yield start + left, start + right

    def _nearest(self, rows: Vectors) -> Iterator[tuple[Indexes, Indexes]]:
        """By a graph index (HNSW), built and searched on one thread, so that the same pictures give the same groups."""
        index = Index(ndim=rows.shape[1], metric="cos", dtype="f32")
        for start in range(0, len(rows), BLOCK):
            self._checkpoint(0.8 * start / len(rows))
            block = rows[start : start + BLOCK]
            index.add(np.arange(start, start + len(block)), block, threads=1)
        for start in range(0, len(rows), BLOCK):
            self._checkpoint(0.8 + 0.2 * start / len(rows))
            block = rows[start : start + BLOCK]
            near = index.search(block, NEIGHBOURS + 1, threads=1)
            right = near.keys.astype(np.int64)
            left = np.broadcast_to(np.arange(start, start + len(block))[:, None], right.shape)
            close = (near.distances <= 1 - self._least) & (left != right)
            yield left[close], right[close]


class VectorsInCollection:
    """The vectors of a collection's items, found by the store's own search.

    Args:
        ids: of all pictures.
    """

    def __init__(
        self,
        store: VectorStore,
        collection: CollectionRef,
        filter: Filter | None,
        ids: Sequence[str],
        min_cosine: float,
        checkpoint: Checkpoint,
    ) -> None:
        self._store = store
        self._collection = collection
        self._filter = filter
        self._ids = ids
        self._least = min_cosine - _ROUNDING
        self._checkpoint = checkpoint

    def pairs(self, among: Sequence[int]) -> Iterator[tuple[Indexes, Indexes]]:
        """Each picture with the nearest NEIGHBOURS of the others."""
        places = {self._ids[index]: index for index in among}
        done = 0
        for part in slices(among, BLOCK):
            vectors = self._vectors_of(part)
            for index, vector in vectors.items():
                self._checkpoint(done / len(among))
                near = self._near(index, vector, places)
                yield np.full(len(near), index, dtype=np.int64), np.asarray(near, dtype=np.int64)
                done += 1
        self._checkpoint(1.0)

    def distances(self, keeper: int, others: Sequence[int]) -> list[float]:
        """2, the most there is, to an item that was deleted meanwhile."""
        vectors = {
            index: vector
            for part in slices([keeper, *others], BLOCK)
            for index, vector in self._vectors_of(part).items()
        }
        one = vectors.get(keeper)
        return [
            2.0 if one is None or index not in vectors else _distances(one, vectors[index][None])[0] for index in others
        ]

    def _vectors_of(self, indexes: Sequence[int]) -> dict[int, NDArray[np.float32]]:
        found = self._store.get(self._collection, [self._ids[index] for index in indexes], with_vectors=True)
        points = {index: found.get(self._ids[index]) for index in indexes}
        return {index: point.vector for index, point in points.items() if point and point.vector is not None}

    def _near(self, index: int, vector: NDArray[np.float32], places: Mapping[str, int]) -> list[int]:
        """Pages of hits until there are enough that are looked for: others' copies may stand between them."""
        near: list[int] = []
        for offset in range(0, MAX_HITS, NEIGHBOURS):
            hits = self._search(self._ids[index], vector, offset)
            near += [places[hit.id] for hit in hits if hit.id in places]
            if len(hits) < NEIGHBOURS or len(near) >= NEIGHBOURS:
                break
        return near

    def _search(self, id: str, vector: NDArray[np.float32], offset: int) -> list[Hit]:
        return self._store.search(
            self._collection,
            vector,
            top_k=NEIGHBOURS,
            offset=offset,
            filter=self._filter,
            min_score=self._least,
            exclude_ids=[id],
        )


def _distances(one: NDArray[np.float32], others: Vectors) -> list[float]:
    cosines = others @ one
    return [round(float(distance), 6) for distance in np.clip(1 - cosines, 0, 2)]
