"""The hot look-ups stay on their indexes as rows grow: with 100,000 rows none may scan the table."""

import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from shared.database.pool import Connection, connect
from shared.jobs import lifecycle, sweeping

ROWS = 100_000

_FILL = """
INSERT INTO jobs (id, tenant, kind, queue, batch_key, state, priority, input, timeout_seconds, next_run_at,
  lease_until, deadline_at, cancel_at, expires_at, idempotency_key, metadata)
SELECT gen_random_uuid(), 't' || n %% 50, 'noop', (ARRAY['noop', 'search', 'embed'])[n %% 3 + 1], 'noop' || n %% 7,
  state,
  n %% 3, '{}', 60, now() - n * interval '1 ms',
  CASE state WHEN 'running' THEN now() + (n - 1000) * interval '1 s' END,
  CASE state WHEN 'running' THEN now() + (n - 1000) * interval '1 s' END,
  CASE WHEN n %% 100 = 0 THEN now() + n * interval '1 s' END,
  CASE state WHEN 'succeeded' THEN now() + (n - 1000) * interval '1 s' END,
  CASE WHEN n %% 2 = 0 THEN 'key-' || n END, jsonb_build_object('order', n::text)
FROM (SELECT n, (ARRAY['queued', 'running', 'succeeded', 'succeeded'])[n %% 4 + 1] AS state
      FROM generate_series(1, %s) n) rows
"""


@pytest.fixture(scope="module")
def connection(module_postgres_url: str) -> Iterator[Connection]:
    with connect(module_postgres_url) as connection:
        connection.execute(_FILL, (ROWS,))
        connection.execute("VACUUM ANALYZE jobs")
        yield connection


CLAIM = {
    "queue": "noop",
    "named": uuid.uuid4(),
    "worker": "w",
    "lease": 60.0,
    "limits": '{"noop": 32}',
    "max_crashes": 3,
}
PAGE = {"max_crashes": 3, "retention": 30, "page": 100, "grace": 1.0, "queue": "noop"}
STATEMENTS: dict[str, tuple[str, Any]] = {
    "claim": (lifecycle._CLAIM, CLAIM),
    "rescue": (sweeping._RESCUE, PAGE),
    "time out": (sweeping._TIME_OUT, PAGE),
    "cancel due": (sweeping._CANCEL_DUE, PAGE),
    "unclaimed": (sweeping._UNCLAIMED, PAGE),
    "expire": (sweeping._EXPIRE, PAGE),
}


@pytest.mark.parametrize("name", STATEMENTS)
def test_no_statement_scans_the_table(connection: Connection, name: str) -> None:
    statement, parameters = STATEMENTS[name]
    assert_no_scan(connection, statement, parameters)


def test_a_claim_from_one_deep_queue_reads_only_what_it_takes(module_postgres_url: str) -> None:
    """The more of the table one queue is, the more a planner likes to scan it for a batch."""
    with connect(module_postgres_url) as connection, connection.transaction(force_rollback=True):
        connection.execute(
            """
            INSERT INTO jobs (id, tenant, kind, queue, batch_key, input, timeout_seconds)
            SELECT gen_random_uuid(), 't', 'noop', 'deep', 'noop', '{}', 60 FROM generate_series(1, 50000)
            """
        )
        connection.execute("ANALYZE jobs")
        assert_no_scan(connection, lifecycle._CLAIM, CLAIM | {"queue": "deep"})


def assert_no_scan(connection: Connection, statement: str, parameters: Any) -> None:
    rows = connection.execute("EXPLAIN (COSTS OFF) " + statement, parameters).fetchall()  # type: ignore[call-overload]
    plan = "\n".join(line for (line,) in rows)
    assert "Seq Scan on jobs" not in plan, plan
    assert "Sort Key: jobs" not in plan, plan
