"""The sweeper's statements: what keeps the promises when a process died, a message was lost, or time ran out.

Each takes a page with SKIP LOCKED, so any number of sweepers may run and one bad row hides no other. All times are
the database's own; none needs the broker.
"""

import uuid
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.rows import class_row

Connection = psycopg.Connection[Any]


@dataclass(frozen=True, slots=True)
class Rescued:
    """Jobs whose worker died: back in their queues, or given up."""

    requeued: list[tuple[str, uuid.UUID]]
    """(queue, job) to ring for."""
    ended: list[uuid.UUID]
    """Given up as `worker_lost`, or canceled since that had been asked for."""


@dataclass(frozen=True, slots=True)
class ExpiredJob:
    """A finished job past its time."""

    id: uuid.UUID
    tenant: str
    may_have_files: bool
    """Any of its attempts may have left something in storage."""


# A crash is not the input's fault until it has happened often; then the job is poison and is given up.
_RESCUE = """
WITH decided AS (
  SELECT id, CASE WHEN cancel_requested_at IS NOT NULL OR cancel_at <= now() THEN 'canceled'
    WHEN crashes + 1 >= %(max_crashes)s THEN 'failed' ELSE 'queued' END AS verdict
  FROM jobs WHERE state = 'running' AND lease_until < now()
  ORDER BY lease_until LIMIT %(page)s FOR UPDATE SKIP LOCKED
)
UPDATE jobs SET
  state = verdict, crashes = crashes + 1, lease_until = NULL, deadline_at = NULL, next_run_at = now(),
  completed_at = CASE WHEN verdict <> 'queued' THEN now() END,
  expires_at = CASE WHEN verdict <> 'queued' THEN now() + make_interval(days => %(retention)s) END,
  error = CASE verdict
    WHEN 'failed' THEN jsonb_build_object('code', 'worker_lost', 'attempt', attempt, 'retryable', true, 'message',
      'The worker died ' || (crashes + 1) || ' times while it ran this job. Try another input, or retry the job.')
    WHEN 'canceled' THEN jsonb_build_object('code', 'canceled', 'attempt', attempt, 'retryable', true, 'message',
      'The job was canceled.')
    END
FROM decided WHERE jobs.id = decided.id
RETURNING verdict, queue, jobs.id
"""

_TIME_OUT = """
WITH late AS (
  SELECT id FROM jobs
  WHERE state = 'running' AND deadline_at < now() - make_interval(secs => %(grace)s)
  ORDER BY deadline_at LIMIT %(page)s FOR UPDATE SKIP LOCKED
)
UPDATE jobs SET
  state = 'failed', lease_until = NULL, deadline_at = NULL, completed_at = now(),
  expires_at = now() + make_interval(days => %(retention)s),
  error = jsonb_build_object('code', 'timed_out', 'attempt', attempt, 'retryable', true, 'message',
    'The job ran for more than its ' || timeout_seconds || ' s. Raise timeout_seconds, or give it less to do.')
FROM late WHERE jobs.id = late.id
RETURNING jobs.id
"""

# Running jobs are told by their heartbeat and end by themselves; only what nobody runs is ended here.
_CANCEL_DUE = """
WITH due AS (
  SELECT id FROM jobs
  WHERE state = 'queued' AND cancel_at <= now()
  ORDER BY cancel_at LIMIT %(page)s FOR UPDATE SKIP LOCKED
)
UPDATE jobs SET
  state = 'canceled', completed_at = now(), expires_at = now() + make_interval(days => %(retention)s),
  error = jsonb_build_object('code', 'canceled', 'attempt', attempt, 'retryable', true, 'message',
    'The job had not finished when its Cancel-After ran out.')
FROM due WHERE jobs.id = due.id
RETURNING jobs.id
"""

_UNCLAIMED = """
SELECT id, kind FROM jobs
WHERE queue = %(queue)s AND state = 'queued' AND next_run_at <= now() - make_interval(secs => %(grace)s)
  AND NOT EXISTS (SELECT 1 FROM queues WHERE name = %(queue)s AND paused)
ORDER BY priority, next_run_at LIMIT %(page)s
"""

# An attempt that stored its output and then died, timed out or was canceled left a file that no row names. Only a job
# that never ran, or that succeeded at once with its output in the row, certainly has none.
_EXPIRE = """
SELECT id, tenant, attempt > 0 AND NOT (state = 'succeeded' AND attempt = 1 AND output_key IS NULL) AS may_have_files
FROM jobs WHERE expires_at < now() ORDER BY expires_at LIMIT %(page)s FOR UPDATE SKIP LOCKED
"""

_FIRST_WRITE_TO_COME = """
SELECT COALESCE(min(seq) FILTER (WHERE kind = 'index' AND state <> 'succeeded'), max(seq) + 1, 0) FROM jobs
"""


def rescue(connection: Connection, *, max_crashes: int, retention_days: int, page: int) -> Rescued:
    """Take jobs away from workers whose lease ran out."""
    parameters = {"max_crashes": max_crashes, "retention": retention_days, "page": page}
    rows = connection.execute(_RESCUE, parameters).fetchall()
    return Rescued(
        requeued=[(queue, job_id) for verdict, queue, job_id in rows if verdict == "queued"],
        ended=[job_id for verdict, _, job_id in rows if verdict != "queued"],
    )


def time_out(connection: Connection, *, grace_seconds: float, retention_days: int, page: int) -> list[uuid.UUID]:
    """Fail running jobs past their deadline; what their worker still writes is stale from then on."""
    parameters = {"grace": grace_seconds, "retention": retention_days, "page": page}
    return [row[0] for row in connection.execute(_TIME_OUT, parameters).fetchall()]


def cancel_due(connection: Connection, *, retention_days: int, page: int) -> list[uuid.UUID]:
    """Cancel queued jobs whose `Cancel-After` has passed."""
    rows = connection.execute(_CANCEL_DUE, {"retention": retention_days, "page": page}).fetchall()
    return [row[0] for row in rows]


def unclaimed(connection: Connection, queue: str, *, grace_seconds: float, page: int) -> list[tuple[uuid.UUID, str]]:
    """The best jobs (id, kind) of a queue that were ready `grace_seconds` ago and that nobody has claimed yet."""
    parameters = {"queue": queue, "grace": grace_seconds, "page": page}
    return connection.execute(_UNCLAIMED, parameters).fetchall()


def expired(connection: Connection, *, page: int) -> list[ExpiredJob]:
    """Lock finished jobs past their time until the transaction ends. Their files go first, then `delete` the rows."""
    with connection.cursor(row_factory=class_row(ExpiredJob)) as cursor:
        return cursor.execute(_EXPIRE, {"page": page}).fetchall()


def delete(connection: Connection, job_ids: list[uuid.UUID]) -> None:
    """Delete the rows of jobs that `expired` answered."""
    connection.execute("DELETE FROM jobs WHERE id = ANY(%s)", (job_ids,))


def first_write_to_come(connection: Connection) -> int:
    """The lowest `seq` of an `index` job that may still write, or one past the highest `seq` where there is none.

    Failed and canceled ones count, as their owners may retry them under the same `seq`. Reads the whole table.
    """
    row = connection.execute(_FIRST_WRITE_TO_COME).fetchone()
    return int(row[0]) if row else 0
