"""Filters as the stores run them, over real points: each finds what the reference lets pass."""

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg_pool import ConnectionPool

from shared.vectors.filters import Filter, matches, parse
from shared.vectors.protocol import CollectionRef, Point, VectorStore
from tests.fakes.filters import filters, payloads, schemas, typed_filters, typed_payloads

from .conftest import DIMENSION, STORES, add_collection, unit

few_examples = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@few_examples
@given(st.lists(filters, min_size=1, max_size=4), st.lists(payloads, min_size=1, max_size=8))
def test_every_store_finds_what_the_reference_lets_pass(
    stores: dict[str, VectorStore],
    pool: ConnectionPool[Any],
    filters: list[dict[str, Any]],
    payloads: list[dict[str, Any]],
) -> None:
    check(stores, add_collection(pool, DIMENSION), [parse(filter) for filter in filters], payloads)


@few_examples
@given(st.data(), schemas)
def test_every_store_finds_what_the_reference_lets_pass_of_typed_payloads(
    stores: dict[str, VectorStore], pool: ConnectionPool[Any], data: st.DataObject, schema: dict[str, str]
) -> None:
    wanted = [parse(filter, schema=schema) for filter in data.draw(st.lists(typed_filters(schema), max_size=4))]
    given = data.draw(st.lists(typed_payloads(schema), min_size=1, max_size=8))
    check(stores, add_collection(pool, DIMENSION), wanted, given, schema)


def check(
    stores: dict[str, VectorStore],
    collection: CollectionRef,
    filters: list[Filter],
    payloads: list[dict[str, Any]],
    schema: dict[str, str] | None = None,
) -> None:
    points = [Point(f"{n}", unit(1), payload, "word") for n, payload in enumerate(payloads)]
    for name in STORES:
        store = stores[name]
        store.create_collection(collection, schema)
        store.upsert(collection, points)
        for filter in filters:
            expected = [point.id for point in points if matches(filter, point.payload)]
            assert [hit.id for hit in store.search(collection, unit(1), top_k=10, filter=filter)] == expected, name
            assert [hit.id for hit in store.search_text(collection, ["word"], top_k=10, filter=filter)] == expected, (
                name
            )
            assert sorted(point.id for point in store.list_items(collection, filter=filter).points) == expected, name
            assert store.count(collection, filter=filter) == len(expected), name
        store.drop_collection(collection)
