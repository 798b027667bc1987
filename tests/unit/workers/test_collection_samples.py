"""Samples are kept for a while, for a few collections, and never past a write."""

import uuid
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from shared.collections import CollectionRow
from shared.vectors.protocol import CollectionRef, Point
from tests.fakes.vectors import MemoryVectorStore
from workers.collection_samples import MAX_AGE_SECONDS, MAX_COLLECTIONS, SAMPLE_SIZE, CollectionSamples


class CountingStore(MemoryVectorStore):
    samples = 0

    def sample(self, collection: CollectionRef, size: int) -> NDArray[np.float32]:
        self.samples += 1
        return super().sample(collection, size)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def store() -> CountingStore:
    return CountingStore()


def row(store: CountingStore, items: int = 3) -> CollectionRow:
    found = CollectionRow(uuid.uuid4(), "t", "c", "m", 4, 0, vectors_id=uuid.uuid4())
    vectors = np.random.default_rng(0).normal(size=(items, 4)).astype(np.float32)
    store.upsert(found.ref, [Point(str(index), vector) for index, vector in enumerate(vectors)])
    return found


def test_a_sample_is_kept_until_it_is_old(store: CountingStore) -> None:
    clock = Clock()
    samples, collection = CollectionSamples(clock), row(store)
    first = samples.of(collection, store)
    assert (first.vectors.shape, first.items) == ((3, 4), 3)
    clock.now += MAX_AGE_SECONDS
    assert samples.of(collection, store) is first
    clock.now += 1
    assert samples.of(collection, store) is not first
    assert store.samples == 2


def test_a_write_makes_it_old_at_once(store: CountingStore) -> None:
    samples, collection = CollectionSamples(), row(store)
    samples.of(collection, store)
    store.upsert(collection.ref, [Point("new", np.ones(4, dtype=np.float32))])
    assert samples.of(replace(collection, version=1), store).items == 4


def test_the_least_recently_used_is_let_go(store: CountingStore) -> None:
    samples, collections = CollectionSamples(), [row(store) for _ in range(MAX_COLLECTIONS + 1)]
    for collection in collections[:-1]:
        samples.of(collection, store)
    kept = samples.of(collections[0], store)
    samples.of(collections[-1], store)
    assert samples.of(collections[0], store) is kept
    before = store.samples
    samples.of(collections[1], store)
    assert store.samples == before + 1


def test_a_large_collection_is_counted_and_a_part_of_it_taken(store: CountingStore) -> None:
    sample = CollectionSamples().of(row(store, SAMPLE_SIZE + 10), store)
    assert (len(sample.vectors), sample.items) == (SAMPLE_SIZE, SAMPLE_SIZE + 10)
