"""Some vectors of each collection that was searched lately, to tell a good score from a usual one."""

import time
import uuid
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.collections import CollectionRow
from shared.vectors.protocol import VectorStore

SAMPLE_SIZE = 1_024
"""Items: the median of so many scores is within 4 % of their spread of the true one (1.25 / sqrt(n))."""
MAX_AGE_SECONDS = 60.0
MAX_COLLECTIONS = 8
"""At 1,024 components that is 32 MB."""

Key = tuple[uuid.UUID, int]


@dataclass(frozen=True, eq=False)
class Sample:
    """`vectors`: (n, d), as they are stored; `items`: how many the collection has."""

    vectors: NDArray[np.float32]
    items: int


class CollectionSamples:
    """The samples of one process, the least recently used ones let go. Not thread-safe: handlers run one at a time."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kept: OrderedDict[Key, tuple[float, Sample]] = OrderedDict()

    def of(self, collection: CollectionRow, store: VectorStore) -> Sample:
        """A sample of the collection as it is at its row's version."""
        key = (collection.vectors_id, collection.version)
        taken, sample = self._kept.pop(key, (-np.inf, None))
        if sample is None or self._clock() - taken > MAX_AGE_SECONDS:
            taken, sample = self._clock(), _take(collection, store)
        self._kept[key] = (taken, sample)
        while len(self._kept) > MAX_COLLECTIONS:
            self._kept.popitem(last=False)
        return sample


def _take(collection: CollectionRow, store: VectorStore) -> Sample:
    vectors = store.sample(collection.ref, SAMPLE_SIZE)
    items = len(vectors) if len(vectors) < SAMPLE_SIZE else max(store.count(collection.ref), len(vectors))
    return Sample(vectors, items)
