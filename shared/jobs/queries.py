"""Reading jobs: one of them, a page of them, and how deep the queues are."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from shared.database.asynchronous import Database, Row
from shared.jobs.submission import MAX_AHEAD

_CLOCK_SLACK = timedelta(minutes=15)
"""Ids carry the clock of the API that made them, `created_at` that of Postgres: they may differ by so much."""

MAX_LISTED_BYTES = 65_536
"""An input or output that is larger is null in a list."""
MAX_LISTED_LOGS = 4_096
"""Characters of a job's logs that a list shows: the last ones."""

# The order is that of the index `ix_jobs_ready`: without it the planner may read the whole table for a count of few.
_PLAIN = """
  id, tenant, kind, state, priority, attempt, max_attempts, output_key, cached, error, progress_fraction,
  progress_message, metadata, created_at, started_at, completed_at, expires_at
"""
_AHEAD = f"""
  CASE WHEN state = 'queued' THEN (
    SELECT count(*) FROM (
      SELECT 1 FROM jobs other
      WHERE other.queue = jobs.queue AND other.state = 'queued' AND other.next_run_at <= now()
        AND (other.priority, other.next_run_at, other.id) < (jobs.priority, jobs.next_run_at, jobs.id)
      ORDER BY other.priority, other.next_run_at
      LIMIT {MAX_AHEAD}
    ) counted
  ) END AS ahead
"""
_COLUMNS = f"{_PLAIN}, input, output, logs, {_AHEAD}"


def _unless_large(column: str) -> str:
    """The size as it is stored first: that is known without reading the value, which may be of many megabytes."""
    return f"""CASE WHEN pg_column_size({column}) <= {MAX_LISTED_BYTES}
      AND octet_length({column}::text) <= {MAX_LISTED_BYTES} THEN {column} END AS {column}"""


_LISTED = f"""
  {_PLAIN}, {_unless_large("input")}, {_unless_large("output")}, right(logs, {MAX_LISTED_LOGS}) AS logs, {_AHEAD}
"""
GET = f"SELECT {_COLUMNS} FROM jobs WHERE id = $1 AND tenant = $2"
MANY = f"SELECT {_COLUMNS} FROM jobs WHERE id = ANY($1::uuid[]) AND tenant = $2"

_DEPTH = """
SELECT queue, count(*) FILTER (WHERE next_run_at <= now()) AS ready, count(*) AS queued,
  GREATEST(0, extract(epoch FROM now() - min(next_run_at)))::float8 AS oldest
FROM jobs WHERE state = 'queued' GROUP BY queue
"""
_RUNNING = "SELECT queue, count(*) AS running FROM jobs WHERE state = 'running' GROUP BY queue"
_PAUSED = "SELECT name FROM queues WHERE paused"
_ACTIVE = "SELECT kind, state, count(*) AS jobs FROM jobs WHERE state IN ('queued', 'running') GROUP BY kind, state"
_ENDED = """
SELECT kind, state, count(*) AS jobs FROM jobs WHERE state IN ('succeeded', 'failed', 'canceled') GROUP BY kind, state
"""


@dataclass(frozen=True, slots=True)
class JobFilter:
    """What a list of jobs is narrowed to; everything given must hold."""

    tenant: str
    kind: str | None = None
    status: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    created_after: datetime | None = None
    created_before: datetime | None = None
    before: uuid.UUID | None = None
    """The last id of the page before."""


@dataclass(frozen=True, slots=True)
class QueueDepth:
    """How a queue stands. `ready`: may run now; `queued`: with those that wait for a retry; `oldest_seconds`: for how
    long the first of them has been ready."""

    name: str
    ready: int = 0
    queued: int = 0
    running: int = 0
    oldest_seconds: float | None = None
    paused: bool = False


async def get(database: Database, tenant: str, job_id: uuid.UUID) -> Row | None:
    """A tenant's job."""
    return await database.fetchrow(GET, job_id, tenant)


async def many(database: Database, tenant: str, job_ids: list[uuid.UUID]) -> dict[uuid.UUID, Row]:
    """Those of a tenant's jobs that exist."""
    return {row["id"]: row for row in await database.fetch(MANY, job_ids, tenant)}


async def page(database: Database, filter: JobFilter, limit: int) -> list[Row]:
    """A tenant's jobs, newest first, at most `limit`, without inputs and outputs over MAX_LISTED_BYTES."""
    statement, arguments = page_statement(filter, limit)
    return await database.fetch(statement, *arguments)


def page_statement(filter: JobFilter, limit: int) -> tuple[str, list[Any]]:
    """Of the conditions given only, so that the planner can choose the index that serves them."""
    conditions, arguments = _conditions(filter)
    where = " AND ".join(conditions)
    return f"SELECT {_LISTED} FROM jobs WHERE {where} ORDER BY id DESC LIMIT {limit:d}", arguments


def _conditions(filter: JobFilter) -> tuple[list[str], list[Any]]:
    conditions: list[str] = []
    arguments: list[Any] = []

    def add(condition: str, value: Any) -> None:
        arguments.append(value)
        conditions.append(condition.format(f"${len(arguments)}"))

    add("tenant = {}", filter.tenant)
    if filter.kind is not None:
        add("kind = {}", filter.kind)
    if filter.status is not None:
        add("state = {}", filter.status)
    if filter.metadata:
        add("metadata @> {}::jsonb", orjson.dumps(dict(filter.metadata)).decode())
    if filter.before is not None:
        add("id < {}", filter.before)
    if filter.created_after is not None:
        add("created_at > {}", filter.created_after)
        add("id > {}", _first_id(filter.created_after - _CLOCK_SLACK))  # an index serves ids, none serves times
    if filter.created_before is not None:
        add("created_at < {}", filter.created_before)
        add("id < {}", _first_id(filter.created_before + _CLOCK_SLACK))
    return conditions, arguments


def _first_id(moment: datetime) -> uuid.UUID:
    """The least UUIDv7 of a millisecond (RFC 9562, section 5.7)."""
    milliseconds = int((moment - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(milliseconds=1))
    return uuid.UUID(int=min(max(milliseconds, 0), 2**48 - 1) << 80)


async def queue_depths(database: Database, names: tuple[str, ...]) -> list[QueueDepth]:
    """Every queue of `names`, and any other that has jobs."""
    waiting = {row["queue"]: row for row in await database.fetch(_DEPTH)}
    running = {row["queue"]: row["running"] for row in await database.fetch(_RUNNING)}
    paused = {row["name"] for row in await database.fetch(_PAUSED)}
    depths = []
    for name in sorted({*names, *waiting, *running, *paused}):
        row = waiting.get(name)
        ready, queued, oldest = (row["ready"], row["queued"], row["oldest"]) if row else (0, 0, None)
        depths.append(QueueDepth(name, ready, queued, running.get(name, 0), oldest if ready else None, name in paused))
    return depths


async def active_counts(database: Database) -> dict[tuple[str, str], int]:
    """Queued and running jobs by (kind, state)."""
    return {(row["kind"], row["state"]): row["jobs"] for row in await database.fetch(_ACTIVE)}


async def ended_counts(database: Database) -> dict[tuple[str, str], int]:
    """Ended jobs that are still kept, by (kind, state). Reads the whole table: ask seldom."""
    return {(row["kind"], row["state"]): row["jobs"] for row in await database.fetch(_ENDED)}
