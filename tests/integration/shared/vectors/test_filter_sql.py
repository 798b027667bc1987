import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql
from psycopg_pool import ConnectionPool

from shared.vectors.filter_sql import compile_sql
from shared.vectors.filters import matches, parse
from tests.fakes.filters import filters, payloads


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(filters, min_size=1, max_size=4), st.lists(payloads, min_size=1, max_size=8))
def test_postgres_agrees_with_the_reference(
    pool: ConnectionPool[Any], filters: list[dict[str, Any]], payloads: list[dict[str, Any]]
) -> None:
    texts = [json.dumps(payload) for payload in payloads]
    with pool.connection() as connection:
        for filter in filters:
            parsed = parse(filter)
            condition, params = compile_sql(parsed, sql.SQL("payload"))
            query = sql.SQL(
                "SELECT {} FROM unnest(%(texts)s::text[]) WITH ORDINALITY AS given (text, position),"
                " LATERAL (SELECT given.text::jsonb AS payload) AS parsed ORDER BY position"
            ).format(condition)
            found = [row[0] for row in connection.execute(query, {**params, "texts": texts})]
            assert found == [matches(parsed, payload) for payload in payloads], filter


def test_values_and_keys_travel_as_parameters() -> None:
    hostile = "'); DROP TABLE items; --"
    condition, params = compile_sql(
        parse({hostile: hostile, "a": {"in": [hostile], "gt": 5}, "b": {"exists": True}}), sql.SQL("payload")
    )
    assert "DROP" not in condition.as_string()
    assert any(hostile in str(value) for value in params.values())
