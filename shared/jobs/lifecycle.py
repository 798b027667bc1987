"""Every statement by which a worker moves a job from state to state.

All run on psycopg 3 in autocommit: each is one statement and so one transaction, but where two share one (see
`finish_and_claim`). `attempt` is the fencing token: a
statement that names a stale attempt changes nothing and says so by what it returns. Times are the database's own.
"""

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

import orjson
import psycopg
from psycopg.rows import class_row

MAX_LOG_CHARACTERS = 65_536
"""A job's log keeps its end when it grows past this."""

Connection = psycopg.Connection[Any]


@dataclass(frozen=True, slots=True)
class ClaimedJob:
    """A job as its worker holds it: until the lease runs out, this attempt is its only writer."""

    id: uuid.UUID
    seq: int
    """Order of submission among all jobs."""
    tenant: str
    kind: str
    input: dict[str, Any]
    attempt: int
    failures: int
    crashes: int
    max_attempts: int
    seconds_left: float
    """Until this attempt's deadline, at the time of the claim."""
    created_at: datetime


class Verdict(StrEnum):
    """How an attempt ended, as the row will say."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"
    RETRY = "retry"
    """Back to the queue after `delay_seconds`, counted as a failure."""
    POSTPONED = "postponed"
    """Back to the queue after `delay_seconds`, not counted: a part of Darkroom was away."""
    HANDED_BACK = "handed_back"
    """Back to the queue at once, not counted: the worker is going away."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of one attempt."""

    job_id: uuid.UUID
    attempt: int
    verdict: Verdict
    output: Any = None
    output_key: str | None = None
    error: dict[str, Any] | None = None
    delay_seconds: float = 0.0
    crash: bool = False
    """Count a crash: the job runs alone from now on."""
    log: str = ""
    progress: tuple[float, str | None] | None = None


@dataclass(frozen=True, slots=True)
class Beat:
    """What a worker has to say of a running job: its progress and new log lines, if any."""

    job_id: uuid.UUID
    attempt: int
    fraction: float | None = None
    message: str | None = None
    log: str = ""


@dataclass(frozen=True, slots=True)
class BeatAnswer:
    """Jobs missing from an answer are no longer ours."""

    owned: frozenset[uuid.UUID] = field(default_factory=frozenset)
    canceled: frozenset[uuid.UUID] = field(default_factory=frozenset)


# `named`, `ready` and `expired` each lock at most one row; `head` is the best of them, `siblings` fill its batch.
# A job that was running when its worker died is claimed alone: its siblings must not die with it.
# The rows are updated by an array of ids: joined to `taken`, whose size the planner guesses as a tenth of the queue, it
# would scan the whole table.
_CLAIM = """
WITH open_queue AS (
  SELECT %(queue)s::text AS name WHERE NOT EXISTS (SELECT 1 FROM queues WHERE name = %(queue)s AND paused)
), named AS MATERIALIZED (
  SELECT id, kind, batch_key, crashes + (state = 'running')::int AS crashes, priority, 0 AS rank, next_run_at AS since
  FROM jobs
  WHERE id = %(named)s AND queue = (SELECT name FROM open_queue)
    AND ((state = 'queued' AND next_run_at <= now())
      OR (state = 'running' AND lease_until < now() AND crashes + 1 < %(max_crashes)s))
    AND cancel_requested_at IS NULL AND (cancel_at IS NULL OR cancel_at > now())
  FOR UPDATE SKIP LOCKED
), ready AS MATERIALIZED (
  SELECT id, kind, batch_key, crashes, priority, 1 AS rank, next_run_at AS since
  FROM jobs
  WHERE queue = (SELECT name FROM open_queue) AND state = 'queued' AND next_run_at <= now()
    AND (cancel_at IS NULL OR cancel_at > now())
  ORDER BY priority, next_run_at LIMIT 1
  FOR UPDATE SKIP LOCKED
), expired AS MATERIALIZED (
  SELECT id, kind, batch_key, crashes + 1 AS crashes, priority, 1 AS rank, lease_until AS since
  FROM jobs
  WHERE state = 'running' AND lease_until < now() AND queue = (SELECT name FROM open_queue)
    AND crashes + 1 < %(max_crashes)s AND cancel_requested_at IS NULL AND (cancel_at IS NULL OR cancel_at > now())
  ORDER BY lease_until LIMIT 1
  FOR UPDATE SKIP LOCKED
), head AS (
  SELECT * FROM (SELECT * FROM named UNION ALL SELECT * FROM ready UNION ALL SELECT * FROM expired) candidates
  ORDER BY priority, rank, since LIMIT 1
), siblings AS MATERIALIZED (
  SELECT id FROM jobs
  WHERE state = 'queued' AND queue = (SELECT name FROM open_queue)
    AND batch_key = (SELECT batch_key FROM head WHERE crashes = 0)
    AND crashes = 0 AND next_run_at <= now() AND id <> (SELECT id FROM head)
    AND (cancel_at IS NULL OR cancel_at > now())
  ORDER BY priority, next_run_at
  LIMIT COALESCE((SELECT (%(limits)s::jsonb ->> kind)::int FROM head), 1) - 1
  FOR UPDATE SKIP LOCKED
), taken AS (
  SELECT id FROM head UNION SELECT id FROM siblings
)
UPDATE jobs SET
  state = 'running', attempt = attempt + 1, crashes = crashes + (state = 'running')::int, worker = %(worker)s,
  started_at = now(), lease_until = now() + make_interval(secs => %(lease)s),
  deadline_at = now() + make_interval(secs => timeout_seconds)
WHERE id = ANY (ARRAY(SELECT id FROM taken))
RETURNING id, seq, tenant, kind, input, attempt, failures, crashes, max_attempts,
  timeout_seconds AS seconds_left, created_at
"""

_BEAT = """
UPDATE jobs SET
  lease_until = now() + make_interval(secs => %(lease)s),
  progress_fraction = COALESCE(beat.fraction, progress_fraction),
  progress_message = COALESCE(beat.message, progress_message),
  logs = CASE WHEN beat.log = '' THEN logs ELSE right(logs || beat.log, %(max_log)s) END
FROM unnest(%(ids)s::uuid[], %(attempts)s::int[], %(fractions)s::float8[], %(messages)s::text[], %(logs)s::text[])
  AS beat(id, attempt, fraction, message, log)
WHERE jobs.id = beat.id AND jobs.attempt = beat.attempt AND state = 'running'
RETURNING jobs.id, (cancel_requested_at IS NOT NULL OR COALESCE(cancel_at <= now(), false)) AS canceled
"""

_LOOK = """
SELECT jobs.id, (cancel_requested_at IS NOT NULL OR COALESCE(cancel_at <= now(), false)) AS canceled
FROM unnest(%(ids)s::uuid[], %(attempts)s::int[]) AS mine(id, attempt)
JOIN jobs ON jobs.id = mine.id AND jobs.attempt = mine.attempt AND state = 'running'
"""

# `=` would let the planner read every running job, and all that have ended since the last vacuum, from the index of
# leases; `IS NOT DISTINCT FROM` keeps it to the ids.
# A cancel that came in time ends a job that would otherwise go back to its queue.
_STATE = """CASE WHEN o.state = 'queued' AND (cancel_requested_at IS NOT NULL OR cancel_at <= now())
    THEN 'canceled' ELSE o.state END"""
_FINISH = f"""
UPDATE jobs SET
  state = {_STATE},
  output = o.output::jsonb, output_key = o.output_key,
  error = CASE WHEN {_STATE} = 'canceled' THEN jsonb_build_object('code', 'canceled', 'attempt', jobs.attempt,
    'retryable', true, 'message', 'The job was canceled.') ELSE o.error::jsonb END,
  failures = failures + o.failure, crashes = crashes + o.crash,
  completed_at = CASE WHEN {_STATE} <> 'queued' THEN now() END,
  expires_at = CASE WHEN {_STATE} <> 'queued' THEN now() + make_interval(days => %(retention)s) END,
  next_run_at = CASE WHEN o.state = 'queued' THEN now() + make_interval(secs => o.delay) ELSE next_run_at END,
  lease_until = NULL, deadline_at = NULL,
  progress_fraction = CASE WHEN o.state = 'succeeded' THEN 1 ELSE COALESCE(o.fraction, progress_fraction) END,
  progress_message = COALESCE(o.message, progress_message),
  logs = CASE WHEN o.log = '' THEN logs ELSE right(logs || o.log, %(max_log)s) END
FROM unnest(%(ids)s::uuid[], %(attempts)s::int[], %(states)s::text[], %(outputs)s::text[], %(output_keys)s::text[],
    %(errors)s::text[], %(failures)s::int[], %(crashes)s::int[], %(delays)s::float8[], %(fractions)s::float8[],
    %(messages)s::text[], %(logs)s::text[])
  AS o(id, attempt, state, output, output_key, error, failure, crash, delay, fraction, message, log)
WHERE jobs.id = o.id AND jobs.attempt = o.attempt AND jobs.state IS NOT DISTINCT FROM 'running'
RETURNING jobs.id, jobs.state
"""


def claim(
    connection: Connection,
    queue: str,
    *,
    worker: str,
    lease_seconds: float,
    limits: dict[str, int],
    max_crashes: int,
    named: uuid.UUID | None = None,
) -> list[ClaimedJob]:
    """Take the best job that may run in `queue`, with its siblings up to the limit of its kind.

    Best: highest priority; among equals the one that the wake-up named, then the oldest. A job whose lease has run
    out counts too, unless it has crashed too often (the sweeper gives that one up).

    Args:
        limits: how many jobs of a kind may share a batch; 1 for a kind that is not here.
    """
    with connection.cursor(row_factory=class_row(ClaimedJob)) as cursor:
        cursor.execute(
            _CLAIM,
            {
                "queue": queue,
                "named": named,
                "worker": worker,
                "lease": lease_seconds,
                "limits": orjson.dumps(limits).decode(),
                "max_crashes": max_crashes,
            },
        )
        return cursor.fetchall()


def beat(connection: Connection, beats: Sequence[Beat], *, lease_seconds: float) -> BeatAnswer:
    """Extend the leases of running attempts and write what they report; learn which are lost or canceled."""
    rows = connection.execute(
        _BEAT,
        {
            "lease": lease_seconds,
            "max_log": MAX_LOG_CHARACTERS,
            "ids": [b.job_id for b in beats],
            "attempts": [b.attempt for b in beats],
            "fractions": [None if b.fraction is None else float(b.fraction) for b in beats],
            "messages": [b.message for b in beats],
            "logs": [b.log for b in beats],
        },
    ).fetchall()
    return _answer(rows)


def look(connection: Connection, held: Sequence[tuple[uuid.UUID, int]]) -> BeatAnswer:
    """Learn which attempts are lost or canceled, without writing anything."""
    ids, attempts = [job_id for job_id, _ in held], [attempt for _, attempt in held]
    return _answer(connection.execute(_LOOK, {"ids": ids, "attempts": attempts}).fetchall())


def _answer(rows: Sequence[tuple[uuid.UUID, bool]]) -> BeatAnswer:
    return BeatAnswer(
        owned=frozenset(job_id for job_id, _ in rows),
        canceled=frozenset(job_id for job_id, canceled in rows if canceled),
    )


def finish(connection: Connection, outcomes: Sequence[Outcome], *, retention_days: int) -> dict[uuid.UUID, str]:
    """Write the ends of attempts; answers the jobs written, with their states. The others had lost their lease and
    changed nothing.
    """
    rows = connection.execute(
        _FINISH,
        {
            "retention": retention_days,
            "max_log": MAX_LOG_CHARACTERS,
            "ids": [o.job_id for o in outcomes],
            "attempts": [o.attempt for o in outcomes],
            "states": [_STATES.get(o.verdict, o.verdict.value) for o in outcomes],
            "outputs": [None if o.output is None else orjson.dumps(o.output).decode() for o in outcomes],
            "output_keys": [o.output_key for o in outcomes],
            "errors": [None if o.error is None else orjson.dumps(o.error).decode() for o in outcomes],
            "failures": [int(o.verdict is Verdict.RETRY) for o in outcomes],
            "crashes": [int(o.crash) for o in outcomes],
            "delays": [float(o.delay_seconds) for o in outcomes],
            "fractions": [float(o.progress[0]) if o.progress else None for o in outcomes],
            "messages": [o.progress[1] if o.progress else None for o in outcomes],
            "logs": [o.log for o in outcomes],
        },
    ).fetchall()
    return dict(rows)


def finish_and_claim(
    connection: Connection,
    outcomes: Sequence[Outcome],
    claim_next: Callable[[Connection], list[ClaimedJob]],
    *,
    retention_days: int,
) -> tuple[dict[uuid.UUID, str], list[ClaimedJob]]:
    """Write the ends of one batch and take the next in one transaction: one wait for the disk instead of two."""
    with connection.transaction():
        written = finish(connection, outcomes, retention_days=retention_days)
        return written, claim_next(connection)


_STATES = {Verdict.RETRY: "queued", Verdict.POSTPONED: "queued", Verdict.HANDED_BACK: "queued"}
