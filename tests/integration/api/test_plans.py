"""The API's statements stay flat as rows grow: none of them reads the whole table of jobs."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from api.intake import answers
from shared.jobs import control, queries, submission
from shared.jobs.queries import JobFilter
from shared.jobs.submission import NewJob
from tests.integration.api.plans import plan, run_all

ROWS = 100_000
FILL = f"""
INSERT INTO jobs (id, tenant, kind, queue, batch_key, state, input, metadata, timeout_seconds, idempotency_key)
SELECT gen_random_uuid(), 'tenant' || i % 50, 'noop', 'noop', 'noop',
  CASE WHEN i % 2 = 0 THEN 'queued' ELSE 'succeeded' END, '{{}}', jsonb_build_object('order', i::text), 60, 'key' || i
FROM generate_series(1, {ROWS}) i
"""
NOW = datetime.now(UTC)


@pytest.fixture(scope="module")
def url(make_database: Callable[[], str]) -> str:
    url = make_database()
    run_all(url, FILL, "ANALYZE jobs")
    return url


async def some_id(url: str) -> Any:
    connection = await asyncpg.connect(url)
    id = await connection.fetchval("SELECT id FROM jobs WHERE state = 'queued' AND tenant = 'tenant2' LIMIT 1")
    await connection.close()
    return id


async def test_one_job_is_found_by_its_id(url: str) -> None:
    id = await some_id(url)
    assert "Seq Scan on jobs" not in await plan(url, queries.GET, id, "tenant2")
    assert "Seq Scan on jobs" not in await plan(url, queries.MANY, [id], "tenant2")
    assert "Seq Scan on jobs" not in await plan(url, control.CANCEL, id, "tenant2", 30)
    assert "Seq Scan on jobs" not in await plan(url, control.RETRY, id, "tenant2")


async def test_a_submission_counts_those_ahead_once_for_its_group(url: str) -> None:
    jobs = [
        NewJob(submission.new_id(), "t", None, "noop", "noop", "noop", 1, "{}", "{}", 3, 60.0, key, b"h")
        for key in ("a", "b", "c")
    ]
    shown = await plan(url, submission.INSERT, *submission.columns(jobs))
    assert "Seq Scan on jobs" not in shown
    counting = next(line for line in shown.splitlines() if "ix_jobs_ready" in line)
    assert counting.rstrip().endswith("loops=1)"), shown


async def test_replays_are_found_by_their_keys(url: str) -> None:
    assert "Seq Scan on jobs" not in await plan(url, submission.KNOWN, "tenant2", ["key2", "key52"])


@pytest.mark.parametrize(
    "narrowed",
    [
        {},
        {"kind": "noop"},
        {"status": "queued"},
        {"status": "running"},
        {"metadata": {"order": "7"}},
        {"created_after": NOW - timedelta(hours=1), "created_before": NOW},
    ],
    ids=str,
)
async def test_lists_read_a_page_of_an_index(url: str, narrowed: dict[str, Any]) -> None:
    statement, arguments = queries.page_statement(JobFilter(tenant="tenant2", **narrowed), 21)
    assert "Seq Scan on jobs" not in await plan(url, statement, *arguments)


async def test_collections_are_found_by_tenant_and_name(url: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(
        "INSERT INTO collections (id, tenant, name, model, dimension) "
        "SELECT gen_random_uuid(), 'tenant' || i % 50, 'name' || i, 'm', 4 FROM generate_series(1, 20000) i"
    )
    await connection.execute("INSERT INTO loaded_models (alias, weights) VALUES ('m', 'w')")
    await connection.execute("ANALYZE collections, loaded_models")
    await connection.close()
    tenants, names = ["tenant2", "tenant3", "tenant4"], ["name2", "name3", "name3"]
    shown = await plan(url, answers.COLLECTIONS, tenants, names)
    assert "Seq Scan on collections" not in shown
    assert "rows=2" in shown.splitlines()[0]
