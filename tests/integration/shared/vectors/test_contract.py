"""What every vector store promises, held against each of them."""

import uuid
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from psycopg_pool import ConnectionPool

from shared.errors import LeaseLost, PermanentJobError
from shared.vectors.filters import parse
from shared.vectors.protocol import CollectionRef, Fence, Point, Vector, VectorStore

from .conftest import DIMENSION, unit


def spread(count: int) -> list[Point]:
    """Points `item-000`... that lie ever farther from `unit(1)`."""
    return [
        Point(f"item-{index:03}", unit(1, index / 10), {"n": index, "even": index % 2 == 0}) for index in range(count)
    ]


def found(store: VectorStore, collection: CollectionRef, **options: object) -> list[str]:
    """Ids nearest to `unit(1)`."""
    return [hit.id for hit in store.search(collection, unit(1), **{"top_k": 10, **options})]  # type: ignore[arg-type]


def test_an_upserted_item_reads_back_whole(store: VectorStore, collection: CollectionRef) -> None:
    payload = {"price": 9.5, "tags": ["a", None, {"deep": [1]}], "none": None, "yes": True, "big": 2**40}
    store.upsert(collection, [Point("shoe", unit(1, 2), payload, "a red shoe", "abc", 2**60 - 1)])

    read = store.get(collection, ["shoe", "missing"], with_vectors=True)

    assert list(read) == ["shoe"]
    point = read["shoe"]
    assert (point.payload, point.text, point.content_hash, point.version) == (payload, "a red shoe", "abc", 2**60 - 1)
    assert point.vector is not None
    assert point.vector.dtype == np.float32
    np.testing.assert_allclose(point.vector, unit(1, 2), atol=1e-6)
    assert store.get(collection, ["shoe"])["shoe"].vector is None


def test_an_upsert_replaces(store: VectorStore, collection: CollectionRef) -> None:
    store.upsert(collection, [Point("a", unit(1), {"old": 1}, "old", "h1", 1)])
    store.upsert(collection, [Point("a", unit(0, 1), {"new": 2}, None, None, 2)])

    assert store.count(collection) == 1
    assert store.get(collection, ["a"])["a"].payload == {"new": 2}
    assert store.content_hashes(collection, ["a"]) == {}
    assert store.search(collection, unit(1), top_k=1)[0].score == pytest.approx(0, abs=1e-6)


def test_an_empty_upsert_and_an_empty_collection(store: VectorStore, collection: CollectionRef) -> None:
    store.upsert(collection, [])
    store.delete(collection, [], version=1)
    store.delete(collection, ["nobody"])

    assert found(store, collection) == []
    assert store.get(collection, ["a"]) == {}
    assert store.count(collection) == 0
    assert store.list_items(collection).points == []
    assert store.size_bytes(collection) >= 0
    assert store.optimize(collection) is False


def test_the_last_of_two_equal_ids_wins(store: VectorStore, collection: CollectionRef) -> None:
    store.upsert(collection, [Point("a", unit(1), {"n": 1}), Point("a", unit(1), {"n": 2})])
    assert store.get(collection, ["a"])["a"].payload == {"n": 2}


def test_search_orders_by_score(store: VectorStore, collection: CollectionRef) -> None:
    store.upsert(collection, spread(30))

    hits = store.search(collection, unit(1), top_k=5, with_vectors=True)

    assert [hit.id for hit in hits] == [f"item-{index:03}" for index in range(5)]
    assert [hit.score for hit in hits] == pytest.approx([unit(1, n / 10)[0] for n in range(5)], abs=1e-5)
    assert hits[1].payload == {"n": 1, "even": False}
    assert hits[1].vector is not None
    np.testing.assert_allclose(hits[1].vector, unit(1, 0.1), atol=1e-6)
    assert store.search(collection, unit(1), top_k=1)[0].vector is None


@pytest.mark.parametrize("offset", [0, 1])
def test_hits_hold_what_was_asked_for(store: VectorStore, collection: CollectionRef, offset: int) -> None:
    store.upsert(collection, [Point(id, unit(1), {"n": 1}, "red") for id in ("a", "b")])
    for with_payloads in (True, False):
        for with_vectors in (True, False):
            shown = {"with_payloads": with_payloads, "with_vectors": with_vectors}
            hit = store.search(collection, unit(1), top_k=1, offset=offset, **shown)[0]
            assert (hit.id, hit.score) == ("ab"[offset], pytest.approx(1))
            assert (hit.payload, hit.text) == (({"n": 1}, "red") if with_payloads else ({}, None))
            assert (hit.vector is not None) is with_vectors


def test_equal_scores_go_by_id(store: VectorStore, collection: CollectionRef) -> None:
    ids = [f"twin-{index:03}" for index in range(200)]
    store.upsert(collection, [Point(id, unit(1, 1, 1), {}) for id in reversed(ids)])
    store.upsert(collection, [Point("best", unit(1), {})])

    assert found(store, collection, top_k=4) == ["best", *ids[:3]]
    assert found(store, collection, top_k=3, offset=101) == ids[100:103]


def test_offset_and_top_k_page_through(store: VectorStore, collection: CollectionRef) -> None:
    store.upsert(collection, spread(25))
    pages = [found(store, collection, top_k=10, offset=offset) for offset in (0, 10, 20, 30)]
    assert [len(page) for page in pages] == [10, 10, 5, 0]
    assert [id for page in pages for id in page] == [f"item-{index:03}" for index in range(25)]


def test_min_score_cuts(store: VectorStore, collection: CollectionRef) -> None:
    store.upsert(collection, spread(30))
    hits = store.search(collection, unit(1), top_k=30, min_score=0.9)
    assert [hit.id for hit in hits] == [f"item-{n:03}" for n in range(30) if unit(1, n / 10)[0] >= 0.9]
    assert found(store, collection, min_score=0.9, offset=len(hits)) == []


def test_recommend_leaves_the_item_out(store: VectorStore, collection: CollectionRef) -> None:
    store.upsert(collection, spread(10))
    vector = store.get(collection, ["item-003"], with_vectors=True)["item-003"].vector
    assert vector is not None
    hits = store.search(collection, vector, top_k=2, exclude_ids=["item-003", "unknown"])
    assert {hit.id for hit in hits} == {"item-002", "item-004"}


def test_search_with_a_filter(store: VectorStore, collection: CollectionRef) -> None:
    store.upsert(collection, spread(30))
    filter = parse({"even": True, "n": {"gte": 4, "lt": 9}})
    assert found(store, collection, filter=filter) == ["item-004", "item-006", "item-008"]
    assert store.count(collection, filter=filter) == 3
    assert [point.id for point in store.list_items(collection, filter=filter).points] != []


@pytest.mark.parametrize(
    ("vector", "code"),
    [
        (np.ones(9, dtype=np.float32), "model_mismatch"),
        (np.ones((2, 4), dtype=np.float32), "model_mismatch"),
        (np.zeros(8, dtype=np.float32), "invalid_input"),
        (np.full(8, np.nan, dtype=np.float32), "invalid_input"),
    ],
)
def test_vectors_that_do_not_fit(store: VectorStore, collection: CollectionRef, vector: Vector, code: str) -> None:
    with pytest.raises(PermanentJobError) as stored:
        store.upsert(collection, [Point("fine", unit(1)), Point("bad", vector)])
    with pytest.raises(PermanentJobError) as searched:
        store.search(collection, vector, top_k=1)
    assert stored.value.code == searched.value.code == code
    assert "'bad'" in stored.value.message
    assert store.count(collection) == 0


@pytest.mark.parametrize(
    "point",
    [
        Point("", unit(1)),
        Point("x" * 513, unit(1)),
        Point("nul\x00", unit(1)),
        Point("half \ud800", unit(1)),
        Point("a", unit(1), {"text": "nul\x00"}),
        Point("a", unit(1), {"text": "half \udc00"}),
        Point("a", unit(1), {"nan": float("nan")}),
        Point("a", unit(1), {"not json": object()}),
        Point("a", unit(1), text="nul\x00"),
        Point("a", unit(1), version=2**60),
    ],
    ids=lambda point: ascii(point.id)[:12],
)
def test_what_cannot_be_stored_is_refused(store: VectorStore, collection: CollectionRef, point: Point) -> None:
    with pytest.raises(PermanentJobError) as refused:
        store.upsert(collection, [point])
    assert refused.value.code == "invalid_input"


def test_ids_and_payloads_in_any_script(store: VectorStore, collection: CollectionRef) -> None:
    ids = [
        "тапочки",
        "靴",
        "👟 sneaker",
        "a/b?c=1&d",
        "'; DROP TABLE items; --",
        "%s",
        "x" * 512,
        " ",
        "\\u0000",
        "\u00e9",
        "e\u0301",
    ]
    store.upsert(collection, [Point(id, unit(1), {"имя": id, "back\\slash": "\\u0000"}, text=id) for id in ids])

    assert {id: point.payload["имя"] for id, point in store.get(collection, ids).items()} == {id: id for id in ids}
    assert found(store, collection, top_k=20) == sorted(ids)
    assert found(store, collection, filter=parse({"имя": {"in": ["靴", "%s"]}})) == ["%s", "靴"]
    store.delete(collection, ["靴", "'; DROP TABLE items; --"])
    assert store.count(collection) == len(ids) - 2


def test_delete(store: VectorStore, collection: CollectionRef) -> None:
    store.upsert(collection, spread(6))
    store.delete(collection, ["item-000", "nobody"])
    store.delete(collection, ["item-001"], version=5)
    store.delete_where(collection, parse({"n": 2}))
    store.delete_where(collection, parse({"n": 3}), version=5)

    assert found(store, collection) == ["item-004", "item-005"]
    assert store.count(collection) == 2
    assert {point.id for point in store.list_items(collection).points} == {"item-004", "item-005"}
    assert set(store.get(collection, ["item-001", "item-003", "item-004"])) == {"item-004"}


def test_content_hashes(store: VectorStore, collection: CollectionRef) -> None:
    store.upsert(collection, [Point("a", unit(1), content_hash="1"), Point("b", unit(1)), Point("c", unit(1))])
    store.upsert(collection, [Point("c", unit(1), content_hash="3")])
    assert store.content_hashes(collection, ["a", "b", "c", "d"]) == {"a": "1", "c": "3"}


HIGH = 2**59 + 2**31
"""Doubles cannot tell this from the integers beside it."""


def test_an_earlier_job_that_runs_later_changes_nothing(store: VectorStore, collection: CollectionRef) -> None:
    store.upsert(collection, [Point("a", unit(1), {"by": "later"}, version=HIGH)])
    store.upsert(collection, [Point("a", unit(1), {"by": "earlier"}, version=HIGH - 1), Point("b", unit(1), version=1)])
    store.delete(collection, ["a"], version=HIGH - 1)
    store.delete_where(collection, parse({}), version=HIGH - 1)

    assert store.get(collection, ["a"])["a"].payload == {"by": "later"}
    assert store.count(collection) == 1

    store.upsert(collection, [Point("a", unit(1), {"by": "the same"}, version=HIGH)])
    assert store.get(collection, ["a"])["a"].payload == {"by": "the same"}
    store.upsert(collection, [Point("a", unit(1), {"by": "a newer one"}, version=HIGH + 2**30)])
    assert store.get(collection, ["a"])["a"].payload == {"by": "a newer one"}


def test_a_deleted_item_does_not_come_back(store: VectorStore, collection: CollectionRef) -> None:
    store.upsert(collection, [Point("a", unit(1), {"n": 1}, "text", "hash", 1)])
    store.delete(collection, ["a", "not yet there"], version=5)
    earlier = [Point("a", unit(1), version=4), Point("not yet there", unit(1), version=4)]
    store.upsert(collection, earlier)
    assert store.count(collection) == 0
    assert store.content_hashes(collection, ["a"]) == {}

    store.upsert(collection, [Point("a", unit(1), version=6)])
    assert found(store, collection) == ["a"]

    store.forget_deleted(collection, before_version=6)
    store.upsert(collection, earlier)
    assert found(store, collection) == ["a", "not yet there"]


def test_touch_confirms_what_is_unchanged(store: VectorStore, collection: CollectionRef) -> None:
    store.upsert(collection, [Point("a", unit(1), {"n": 1}, content_hash="same", version=1)])
    store.upsert(collection, [Point("b", unit(1), content_hash="other", version=1)])
    store.upsert(collection, [Point("c", unit(1), content_hash="same", version=9)])

    assert store.touch(collection, {"a": "same", "b": "same", "c": "same", "d": "same"}, version=3) == {"a", "c"}

    versions = {id: point.version for id, point in store.get(collection, ["a", "b", "c"]).items()}
    assert versions == {"a": 3, "b": 1, "c": 9}
    store.upsert(collection, [Point("a", unit(1), {"n": 2}, content_hash="between", version=2)])
    assert store.get(collection, ["a"])["a"].payload == {"n": 1}


FencedWrite = Callable[[VectorStore, CollectionRef, Fence], object]
fenced_writes = pytest.mark.parametrize(
    "write",
    [
        lambda store, collection, fence: store.upsert(
            collection, [Point("a", unit(1), {"n": 2}, version=2)], fence=fence
        ),
        lambda store, collection, fence: store.delete(collection, ["a"], version=2, fence=fence),
        lambda store, collection, fence: store.touch(collection, {"a": "hash"}, version=2, fence=fence),
    ],
    ids=["upsert", "delete", "touch"],
)


@fenced_writes
def test_a_job_writes_nothing_into_a_deleted_collection(
    store: VectorStore, collection: CollectionRef, running_job: Fence, pool: ConnectionPool[Any], write: FencedWrite
) -> None:
    store.upsert(collection, [Point("a", unit(1), {"n": 1}, content_hash="hash", version=1)], fence=running_job)
    with pool.connection() as connection:
        connection.execute("DELETE FROM collections WHERE id = %s", (collection.id,))
    with pytest.raises(PermanentJobError) as refused:
        write(store, collection, running_job)
    assert refused.value.code == "collection_unknown"
    stored = store.get(collection, ["a"])["a"]
    assert (stored.payload, stored.version) == ({"n": 1}, 1)


@fenced_writes
def test_a_late_attempt_writes_nothing(
    store: VectorStore,
    collection: CollectionRef,
    running_job: Fence,
    write: FencedWrite,
) -> None:
    store.upsert(collection, [Point("a", unit(1), {"n": 1}, content_hash="hash", version=1)], fence=running_job)
    for late in (Fence(running_job.job_id, 1), Fence(uuid.uuid4(), 2)):
        with pytest.raises(LeaseLost):
            write(store, collection, late)
    stored = store.get(collection, ["a"])["a"]
    assert (stored.payload, stored.version) == ({"n": 1}, 1)
    write(store, collection, running_job)


def test_pages_show_every_item_once(store: VectorStore, collection: CollectionRef) -> None:
    store.upsert(collection, spread(25))
    store.delete(collection, ["item-005"], version=1)

    seen: list[str] = []
    cursor: str | None = None
    for round in range(10):
        page = store.list_items(collection, limit=7, cursor=cursor, with_vectors=True)
        seen += [point.id for point in page.points]
        assert all(point.vector is not None for point in page.points)
        store.upsert(collection, [Point(f"new-{round}", unit(1))])
        store.delete(collection, [seen[0]])
        cursor = page.next_cursor
        if cursor is None:
            break

    ours = [id for id in seen if id.startswith("item-")]
    assert sorted(ours) == [f"item-{index:03}" for index in range(25) if index != 5]
    assert len(seen) == len(set(seen))


def test_collections_do_not_see_each_other(store: VectorStore, collection: CollectionRef) -> None:
    other = CollectionRef(uuid.uuid4(), 3)
    store.create_collection(other)
    store.create_collection(other)
    store.upsert(collection, spread(3))
    store.upsert(other, [Point("item-000", np.array([0, 1, 0], dtype=np.float32), {"n": 0})])

    store.delete_where(other, parse({"n": {"lt": 100}}))
    assert (store.count(collection), store.count(other)) == (3, 0)
    store.upsert(other, [Point("item-000", np.array([0, 1, 0], dtype=np.float32))])
    store.drop_collection(other)
    store.drop_collection(other)
    assert (store.count(collection), store.count(other)) == (3, 0)
    assert store.list_items(other).points == []
    assert store.search(other, np.array([0, 1, 0], dtype=np.float32), top_k=1) == []


def test_a_write_into_a_collection_that_the_store_forgot(store: VectorStore, collection: CollectionRef) -> None:
    store.drop_collection(collection)
    store.upsert(collection, [Point("a", unit(1))])
    assert found(store, collection) == ["a"]


def test_ten_thousand_points(store: VectorStore, collection: CollectionRef) -> None:
    generator = np.random.default_rng(7)
    vectors = generator.normal(size=(10_000, DIMENSION)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    points = [Point(f"{n:05}", vectors[n], {"bucket": n % 100}) for n in range(10_000)]
    for start in range(0, 10_000, 1_000):
        store.upsert(collection, points[start : start + 1_000])

    assert store.count(collection) == 10_000
    query = vectors[17]
    best = np.argsort(-(vectors @ query), kind="stable")
    assert [hit.id for hit in store.search(collection, query, top_k=10)] == [f"{n:05}" for n in best[:10]]
    in_bucket = [f"{n:05}" for n in best if n % 100 == 3]
    hits = store.search(collection, query, top_k=100, filter=parse({"bucket": 3}))
    assert [hit.id for hit in hits] == in_bucket
    assert len(hits) == 100


def test_ping(store: VectorStore) -> None:
    store.ping()
