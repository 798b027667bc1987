"""Accepting jobs: one INSERT that answers for itself, shared by requests that arrive together.

Jobs are inserted under ids that the API chose, and what is there already is left alone. So a group whose connection
broke is simply inserted again, and a request whose idempotency key lost a race finds the winner.
"""

import asyncio
import uuid
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg
from uuid_utils.compat import uuid7

from shared.database.asynchronous import Connection, Database, Row
from shared.errors import Conflict, DependencyUnavailable
from shared.faults import fault_point

MAX_AHEAD = 1_000
"""A queue position is counted so far; a job behind more than this has none."""
MAX_GROUP = 128
"""Jobs of concurrent requests that share one statement."""

# `ahead` counts before this statement's own rows: the snapshot does not see them. Its order is that of the index
# `ix_jobs_ready`: without it the planner may read the whole table for a count of few.
INSERT = f"""
WITH incoming AS (
  SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::smallint[],
    $8::text[], $9::text[], $10::int[], $11::float8[], $12::text[], $13::bytea[], $14::float8[], $15::text[],
    $16::int[])
  AS t(id, tenant, key_id, kind, queue, batch_key, priority, input, metadata, max_attempts, timeout_seconds,
    idempotency_key, request_hash, cancel_after, output, keep_days)
), inserted AS (
  INSERT INTO jobs (id, tenant, key_id, kind, queue, batch_key, priority, input, metadata, max_attempts,
    timeout_seconds, idempotency_key, request_hash, cancel_at, output, cached, state, progress_fraction,
    started_at, completed_at, expires_at)
  SELECT id, tenant, key_id, kind, queue, batch_key, priority, input::jsonb, metadata::jsonb, max_attempts,
    timeout_seconds, idempotency_key, request_hash, now() + make_interval(secs => cancel_after),
    output::jsonb, output IS NOT NULL,
    CASE WHEN output IS NULL THEN 'queued' ELSE 'succeeded' END, CASE WHEN output IS NULL THEN 0 ELSE 1 END,
    CASE WHEN output IS NOT NULL THEN now() END, CASE WHEN output IS NOT NULL THEN now() END,
    now() + make_interval(days => keep_days)
  FROM incoming
  ON CONFLICT DO NOTHING
  RETURNING id, queue, priority, created_at, expires_at
), held AS (
  INSERT INTO job_files (job_id, file_id)
  SELECT job_id, file_id FROM unnest($17::uuid[], $18::text[]) AS f(job_id, file_id)
  WHERE job_id IN (SELECT id FROM inserted)
), ahead AS MATERIALIZED (
  SELECT queue, priority, (
    SELECT count(*) FROM (
      SELECT 1 FROM jobs
      WHERE jobs.queue = place.queue AND state = 'queued' AND jobs.priority <= place.priority AND next_run_at <= now()
      ORDER BY jobs.priority, next_run_at
      LIMIT {MAX_AHEAD}
    ) counted
  ) AS jobs
  FROM (SELECT DISTINCT queue, priority FROM incoming) place
)
SELECT inserted.id, created_at, expires_at, ahead.jobs AS ahead FROM inserted JOIN ahead USING (queue, priority)
"""

KNOWN = """
SELECT id, idempotency_key, request_hash FROM jobs
WHERE tenant = $1 AND idempotency_key = ANY($2::text[])
"""
_BY_ID = "SELECT id, created_at, expires_at FROM jobs WHERE id = ANY($1::uuid[])"


@dataclass(frozen=True, slots=True)
class KnownOutput:
    """The output of a job that nobody has to run: JSON, and for how many days the job is kept."""

    json: str
    keep_days: int


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job that passed every check, as its row will be. `input` and `metadata` are JSON texts."""

    id: uuid.UUID
    tenant: str
    key_id: str | None
    kind: str
    queue: str
    batch_key: str | None
    priority: int
    input: str
    metadata: str
    max_attempts: int
    timeout_seconds: float
    idempotency_key: str | None = None
    request_hash: bytes | None = None
    cancel_after: float | None = None
    """Seconds."""
    files: tuple[str, ...] = ()
    known: KnownOutput | None = None
    """Its row says from the first that it has succeeded; no worker sees it."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """What became of a submitted job.

    `id` is another one than the submitted job's, and `created_at` is None, when it was a replay: the job with this
    idempotency key was there already. `expires_at` and no `queue_position`: its output was known, it has ended.
    """

    id: uuid.UUID
    created_at: datetime | None = None
    queue_position: int | None = None
    expires_at: datetime | None = None

    @property
    def replayed(self) -> bool:
        return self.created_at is None


new_id: Callable[[], uuid.UUID] = uuid7
"""UUIDv7, rising within a process."""


class Submitter:
    """Inserts jobs one by one for many requests at once: those that arrive while an insert runs share the next one."""

    def __init__(self, database: Database, *, lanes: int = 2) -> None:
        """`lanes`: statements in flight at once."""
        self._database = database
        self._free_lanes = lanes
        self._waiting: deque[tuple[NewJob, asyncio.Future[Accepted]]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()

    async def submit(self, job: NewJob) -> Accepted:
        """Insert a job; it is committed when this returns.

        Raises:
            Conflict: the idempotency key belongs to another request (`idempotency_conflict`).
            DependencyUnavailable: Postgres is away.
        """
        future: asyncio.Future[Accepted] = asyncio.get_running_loop().create_future()
        self._waiting.append((job, future))
        if self._free_lanes:
            self._free_lanes -= 1
            task = asyncio.create_task(self._lane())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return await future

    async def _lane(self) -> None:
        try:
            while self._waiting:
                group = [self._waiting.popleft() for _ in range(min(MAX_GROUP, len(self._waiting)))]
                await self._insert_group(group)
        finally:
            self._free_lanes += 1

    async def _insert_group(self, group: Sequence[tuple[NewJob, asyncio.Future[Accepted]]]) -> None:
        try:
            accepted = await insert(self._database, [job for job, _ in group])
        except (DependencyUnavailable, asyncio.CancelledError) as error:
            _fail(group, error)
        except Exception as error:  # noqa: BLE001 - whatever it is belongs to one of these requests, not to the lane
            if len(group) == 1:
                _fail(group, error)
                return
            for alone in group:  # one bad row must not fail its neighbours
                await self._insert_group([alone])
        else:
            for (_, future), result in zip(group, accepted, strict=True):
                _resolve(future, result)


def _resolve(future: asyncio.Future[Accepted], result: Accepted | Conflict) -> None:
    if future.done():  # its request is gone
        return
    if isinstance(result, Conflict):
        future.set_exception(result)
    else:
        future.set_result(result)


def _fail(group: Sequence[tuple[NewJob, asyncio.Future[Accepted]]], error: BaseException) -> None:
    for _, future in group:
        if not future.done():
            future.set_exception(error)


async def insert(database: Database, jobs: Sequence[NewJob]) -> list[Accepted | Conflict]:
    """Insert jobs in one statement; each is accepted, a replay, or in conflict, by itself.

    Raises:
        DependencyUnavailable: Postgres is away; nothing of this is there, or (rarely) all of it, under these ids.
    """
    # In one order for everybody, so that two groups with the same idempotency keys cannot lock each other out.
    ordered = sorted(jobs, key=lambda job: (job.tenant, job.idempotency_key or ""))
    rows = {row["id"]: row for row in await _again(lambda: database.fetch(INSERT, *columns(ordered)))}
    fault_point("api.after_commit")
    missing = [job for job in jobs if job.id not in rows]
    found = await _find(database, missing) if missing else {}
    taken: dict[tuple[str, int], int] = {}
    return [found[job.id] if job.id in found else _accepted(job, rows[job.id], taken) for job in jobs]


async def insert_all(database: Database, jobs: Sequence[NewJob]) -> list[Accepted]:
    """Insert jobs in one transaction: all or none. With idempotency keys, all of them are replays, or none is.

    Raises:
        Conflict: an idempotency key belongs to another request.
        DependencyUnavailable: Postgres is away.
    """
    try:
        rows = {row["id"]: row for row in await _again(lambda: _insert_whole(database, jobs))}
    except _SomeExist:
        found = await _find(database, jobs)
        for result in found.values():
            if isinstance(result, Conflict):
                raise result from None
        return [result for job in jobs if isinstance(result := found[job.id], Accepted)]
    fault_point("api.after_commit")
    taken: dict[tuple[str, int], int] = {}
    return [_accepted(job, rows[job.id], taken) for job in jobs]


async def insert_within(connection: Connection, job: NewJob) -> Accepted:
    """Insert a job without an idempotency key as a part of the caller's transaction."""
    rows = await connection.fetch(INSERT, *columns([job]))
    return _accepted(job, rows[0], {})


class _SomeExist(Exception):
    """Rolls the transaction back."""


async def _insert_whole(database: Database, jobs: Sequence[NewJob]) -> list[Row]:
    async with database.transaction() as connection:
        rows = await connection.fetch(INSERT, *columns(jobs))
        fault_point("api.after_insert")
        if len(rows) < len(jobs):
            raise _SomeExist
        fault_point("api.after_insert")
        return rows


async def _again(statement: Callable[[], Awaitable[list[Row]]]) -> list[Row]:
    """Run it a second time on another connection when the first one was lost: inserting twice changes nothing."""
    try:
        return await statement()
    except DependencyUnavailable as error:
        if isinstance(error.__cause__, asyncpg.CannotConnectNowError | TimeoutError):
            raise
        return await statement()


async def _find(database: Database, jobs: Sequence[NewJob]) -> dict[uuid.UUID, Accepted | Conflict]:
    """What kept jobs from being inserted: themselves (a repeated statement), or their idempotency keys."""
    own = {row["id"]: row for row in await database.fetch(_BY_ID, [job.id for job in jobs])}
    found: dict[uuid.UUID, Accepted | Conflict] = {
        id: Accepted(id, row["created_at"], expires_at=row["expires_at"]) for id, row in own.items()
    }
    for tenant in {job.tenant for job in jobs}:
        mine = [job for job in jobs if job.tenant == tenant and job.id not in own]
        hashes = {job.idempotency_key: job.request_hash for job in mine if job.idempotency_key and job.request_hash}
        known = await replays(database, tenant, hashes)
        found |= {job.id: known[job.idempotency_key] for job in mine if job.idempotency_key in known}
    if len(found) < len(jobs):  # the other job was deleted in this very moment
        raise DependencyUnavailable("The job with this Idempotency-Key is just being deleted.")
    return found


async def replays(database: Database, tenant: str, hashes: Mapping[str, bytes]) -> dict[str, Accepted | Conflict]:
    """What a tenant's idempotency keys stand for already, by key: the job of the same request, or a conflict.

    Args:
        hashes: the hash of the request that now comes with each key.
    """
    rows = await database.fetch(KNOWN, tenant, list(hashes)) if hashes else []
    return {
        key: Accepted(row["id"]) if row["request_hash"] == hashes[key] else _conflict()
        for row in rows
        if (key := row["idempotency_key"])
    }


def _conflict() -> Conflict:
    return Conflict(
        "This Idempotency-Key was used with another request. Send the first request's body again, or a new key.",
        code="idempotency_conflict",
    )


def _accepted(job: NewJob, row: Row, taken: dict[tuple[str, int], int]) -> Accepted:
    if job.known:
        return Accepted(job.id, row["created_at"], expires_at=row["expires_at"])
    place = (job.queue, job.priority)
    taken[place] = taken.get(place, 0) + 1
    ahead = row["ahead"]
    return Accepted(job.id, row["created_at"], ahead + taken[place] if ahead < MAX_AHEAD else None)


def columns(jobs: Sequence[NewJob]) -> tuple[list[Any], ...]:
    """The arguments of the INSERT: a list a column."""
    held = [(job.id, file) for job in jobs for file in job.files]
    return (
        [job.id for job in jobs],
        [job.tenant for job in jobs],
        [job.key_id for job in jobs],
        [job.kind for job in jobs],
        [job.queue for job in jobs],
        [job.batch_key for job in jobs],
        [job.priority for job in jobs],
        [job.input for job in jobs],
        [job.metadata for job in jobs],
        [job.max_attempts for job in jobs],
        [job.timeout_seconds for job in jobs],
        [job.idempotency_key for job in jobs],
        [job.request_hash for job in jobs],
        [job.cancel_after for job in jobs],
        [job.known.json if job.known else None for job in jobs],
        [job.known.keep_days if job.known else None for job in jobs],
        [job_id for job_id, _ in held],
        [file for _, file in held],
    )
