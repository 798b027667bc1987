import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql
from psycopg_pool import ConnectionPool

from shared.vectors.filter_sql import compile_sql
from shared.vectors.filters import Filter, matches, parse
from tests.fakes.filters import (
    VALUES,
    conditions,
    filters,
    payloads,
    placements,
    schemas,
    typed_filters,
    typed_payloads,
)


def passing(pool: ConnectionPool[Any], filter: Filter, payloads: list[dict[str, Any]]) -> list[bool]:
    """Which of the payloads pass, as Postgres sees it."""
    condition, params = compile_sql(filter, sql.SQL("payload"))
    query = sql.SQL(
        "SELECT {} FROM unnest(%(texts)s::text[]) WITH ORDINALITY AS given (text, position),"
        " LATERAL (SELECT given.text::jsonb AS payload) AS parsed ORDER BY position"
    ).format(condition)
    with pool.connection() as connection:
        rows = connection.execute(query, {**params, "texts": [json.dumps(payload) for payload in payloads]})
        return [row[0] for row in rows]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(filters, min_size=1, max_size=4), st.lists(payloads, min_size=1, max_size=8))
def test_postgres_agrees_with_the_reference(
    pool: ConnectionPool[Any], filters: list[dict[str, Any]], payloads: list[dict[str, Any]]
) -> None:
    for filter in filters:
        parsed = parse(filter)
        assert passing(pool, parsed, payloads) == [matches(parsed, payload) for payload in payloads], filter


@pytest.mark.parametrize("typed", [False, True])
@pytest.mark.parametrize("type", sorted(VALUES))
def test_postgres_agrees_on_every_operator(pool: ConnectionPool[Any], type: str, typed: bool) -> None:
    given = placements(type)
    for name, condition in conditions(type):
        parsed = parse({"f": condition}, schema={"f": type} if typed else None)
        assert passing(pool, parsed, given) == [matches(parsed, payload) for payload in given], (name, condition)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data(), schemas)
def test_postgres_agrees_with_the_reference_on_typed_payloads(
    pool: ConnectionPool[Any], data: st.DataObject, schema: dict[str, str]
) -> None:
    parsed = parse(data.draw(typed_filters(schema)), schema=schema)
    given = data.draw(st.lists(typed_payloads(schema) | payloads, min_size=1, max_size=8))
    assert passing(pool, parsed, given) == [matches(parsed, payload) for payload in given]


def test_values_and_keys_travel_as_parameters() -> None:
    hostile = "'); DROP TABLE items; --"
    condition, params = compile_sql(
        parse({hostile: hostile, "a": {"in": [hostile], "gt": 5}, "b": {"exists": True}}), sql.SQL("payload")
    )
    assert "DROP" not in condition.as_string()
    assert any(hostile in str(value) for value in params.values())
