"""Whole searches give equal results in equal order over every store: mixes, filters, offsets, hybrid, calibrated."""

import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg_pool import ConnectionPool

from shared.collections import CollectionRow
from shared.contracts.search import SearchInput, SearchOutput
from shared.vectors.protocol import CollectionRef, Point, VectorStore
from tests.fakes.models import FakeEmbedder
from tests.fakes.services import SPEC, Room
from workers.handlers.search import handle

from .conftest import STORES, add_collection

DIMENSION = 8
ITEMS = 240
WORDS = ("red", "blue", "shoe", "boot", "leather", "SKU-1042", "SKU-7", "Größe")
COLOURS = ("red", "blue", "green")

Rooms = dict[str, Room]


def points() -> list[Point]:
    """Items of random vectors, every fourth with the vector of another one, with texts of a few common words."""
    rng = np.random.default_rng(11)
    vectors = rng.normal(size=(ITEMS, DIMENSION))
    vectors[::4] = vectors[1::4]
    units = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return [
        Point(
            f"item-{index:03}",
            unit,
            {
                "n": index % 50,
                "colour": COLOURS[index % 3],
                "tags": list(rng.choice(COLOURS, 2)),
                "sale": index % 7 == 0,
            },
            " ".join(rng.choice(WORDS, rng.integers(1, 5))) if index % 5 else None,
        )
        for index, unit in enumerate(units)
    ]


@pytest.fixture(scope="module")
def rooms(stores: dict[str, VectorStore], pool: ConnectionPool[Any]) -> Rooms:
    """A worker's surroundings over each store, with the same items in each."""
    found = {}
    for name in STORES:
        ref = add_collection(pool, DIMENSION)
        stores[name].create_collection(ref)
        stores[name].upsert(ref, points())
        found[name] = _room(stores[name], ref)
    return found


def _room(store: Any, ref: CollectionRef) -> Room:
    spec = SPEC.model_copy(update={"dimension": DIMENSION})
    room = Room(model=FakeEmbedder(spec), vectors=store)
    row = CollectionRow(ref.id, "t", "c", spec.alias, DIMENSION, 0, vectors_id=ref.id)
    room.collections.rows["t", "c"] = row
    return room


ids = st.integers(0, ITEMS - 1).map(lambda index: f"item-{index:03}")
texts = st.lists(st.sampled_from(WORDS), min_size=1, max_size=3).map(" ".join)
parts = st.one_of(
    st.builds(lambda text, weight: {"text": text, "weight": weight}, texts, st.floats(0.5, 3)),
    st.builds(lambda item, weight: {"item": item, "weight": weight}, ids, st.floats(-0.4, 2)),
)
conditions = st.one_of(
    st.builds(lambda colour: {"colour": colour}, st.sampled_from(COLOURS)),
    st.builds(lambda low, high: {"n": {"gte": low, "lt": high}}, st.integers(0, 30), st.integers(20, 50)),
    st.builds(lambda tag: {"tags": {"in": [tag]}}, st.sampled_from(COLOURS)),
    st.just({"not": {"sale": True}}),
)
filters = st.one_of(
    conditions, st.builds(lambda a, b: {"or": [a, {"and": [b, {"n": {"exists": True}}]}]}, conditions, conditions)
)
searches = st.fixed_dictionaries(
    {"text": texts, "top_k": st.integers(1, 60), "offset": st.integers(0, 150)},
    optional={
        "query": st.lists(parts, min_size=1, max_size=4),
        "filter": filters,
        "text_match": texts,
        "min_score": st.floats(-0.5, 0.5),
        "include_payload": st.sampled_from([True, False, ["colour", "n"]]),
        "include_vectors": st.booleans(),
        "calibrated": st.booleans(),
    },
)


@settings(max_examples=40, deadline=None)
@given(search=searches)
def test_every_store_gives_equal_results_in_equal_order(rooms: Rooms, search: dict[str, Any]) -> None:
    answers = {name: ask(room, search) for name, room in rooms.items()}
    expected = answers.pop("memory")
    for results in answers.values():
        assert [result["id"] for result in results] == [result["id"] for result in expected]
        for one, other in zip(results, expected, strict=True):
            assert rest(one) == rest(other)
            assert numbers(one) == pytest.approx(numbers(other), abs=2e-5)


@pytest.mark.parametrize("name", STORES)
def test_a_name_comes_first_whatever_the_vectors_say(rooms: Rooms, name: str) -> None:
    alone = Point("named", -points()[0].vector, {}, "the article SKU-90210")
    ref = rooms[name].collections.rows["t", "c"].ref
    rooms[name].vectors.upsert(ref, [alone])
    try:
        search = {"vector": points()[0].vector.tolist(), "text_match": "sku-90210", "top_k": 3}
        first, second, _ = ask(rooms[name], search)
        assert first["id"] == "named"
        assert first["cosine"] == pytest.approx(-1, abs=1e-5)
        assert second["cosine"] == pytest.approx(1, abs=1e-5)
    finally:
        rooms[name].vectors.delete(ref, ["named"])


@pytest.mark.parametrize("name", ["pgvector", "qdrant"])
@pytest.mark.parametrize("hybrid", [False, True])
def test_only_what_a_page_shows_is_read(
    stores: dict[str, VectorStore], pool: ConnectionPool[Any], name: str, hybrid: bool
) -> None:
    """A payload of 16 kB takes some 100 kB once it is read; pages go down to the eleven thousandth item."""
    ref = add_collection(pool, DIMENSION)
    store, payload = stores[name], {f"key {n}": n for n in range(1_000)}
    store.create_collection(ref)
    units = [point.vector for point in points()] * 5
    store.upsert(ref, [Point(f"{n:04}", unit, payload, "shoe") for n, unit in enumerate(units)])
    search = {"vector": units[0].tolist(), "top_k": 5, "offset": 1_100} | ({"text_match": "shoe"} if hybrid else {})
    room = _room(store, ref)
    tracemalloc.start()
    try:
        assert [result["payload"] for result in ask(room, search)] == [payload] * 5
        assert tracemalloc.get_traced_memory()[1] < 40e6
    finally:
        tracemalloc.stop()
        store.drop_collection(ref)


def ask(room: Room, search: dict[str, Any]) -> list[dict[str, Any]]:
    input = SearchInput.model_validate({"collection": "c", **search})
    (output,) = handle([input], room.context(room.job()))
    assert isinstance(output, SearchOutput), output
    shown: list[dict[str, Any]] = output.model_dump(mode="json")["results"]
    return shown


def numbers(result: dict[str, Any]) -> list[float]:
    found = [result[name] for name in ("score", "cosine", "distance", "relevance") if name in result]
    return [*found, *result.get("vector", [])]


def rest(result: dict[str, Any]) -> dict[str, Any]:
    return {name: result.get(name) for name in ("payload", "text")}
