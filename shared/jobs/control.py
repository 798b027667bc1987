"""What its owner does to a job (cancel, retry, delete), and what an operator does to a queue (pause, resume)."""

import uuid

from shared import files
from shared.contracts.registry import KINDS
from shared.database.asynchronous import Connection, Database, Row
from shared.errors import Conflict, NotFound

_KEPT_KINDS = tuple(kind.name for kind in KINDS.values() if not kind.cancelable)

# The message is for the job's owner; `attempt` is the last one that ran. A worker that runs the job reads
# `cancel_requested_at` with its next heartbeat.
CANCEL = f"""
UPDATE jobs SET
  state = CASE state WHEN 'queued' THEN 'canceled' ELSE state END,
  completed_at = CASE state WHEN 'queued' THEN now() END,
  expires_at = CASE state WHEN 'queued' THEN now() + make_interval(days => $3) END,
  error = CASE state WHEN 'queued' THEN jsonb_build_object('code', 'canceled', 'attempt', attempt, 'retryable', true,
    'message', 'The job was canceled.') ELSE error END,
  cancel_requested_at = COALESCE(cancel_requested_at, now())
WHERE id = $1 AND tenant = $2 AND state IN ('queued', 'running') AND kind <> ALL ('{{{",".join(_KEPT_KINDS)}}}'::text[])
RETURNING state
"""

# `attempt` goes on: it is the fencing token, and a late attempt of the first run must not pass for one of the second.
RETRY = """
UPDATE jobs SET
  state = 'queued', failures = 0, crashes = 0, output = NULL, output_key = NULL, error = NULL, logs = '',
  progress_fraction = 0, progress_message = NULL, next_run_at = now(), started_at = NULL, completed_at = NULL,
  expires_at = NULL, lease_until = NULL, deadline_at = NULL, cancel_at = NULL, cancel_requested_at = NULL, worker = NULL
WHERE id = $1 AND tenant = $2 AND state IN ('failed', 'canceled')
RETURNING kind, queue, batch_key
"""

_LOCK = "SELECT state FROM jobs WHERE id = $1 AND tenant = $2 FOR UPDATE"
_FILES = "SELECT file_id FROM job_files WHERE job_id = $1"
_DELETE = "DELETE FROM jobs WHERE id = $1"
_NEXT_SEQ = "SELECT nextval(pg_get_serial_sequence('jobs', 'seq')) AS seq"
_PAUSE = """
INSERT INTO queues (name, paused) VALUES ($1, $2)
ON CONFLICT (name) DO UPDATE SET paused = excluded.paused, updated_at = now()
"""


async def cancel(database: Database, tenant: str, job_id: uuid.UUID, *, retention_days: int) -> str | None:
    """Cancel a queued job, or ask the worker of a running one to stop. Returns the state that it is in now, or None
    where there was nothing to do: the job has ended, or there is none.

    Raises:
        Conflict: jobs of its kind cannot be canceled (`not_cancelable`).
    """
    row = await database.fetchrow(CANCEL, job_id, tenant, retention_days)
    if row is not None:
        return str(row["state"])
    job = await database.fetchrow("SELECT kind, state FROM jobs WHERE id = $1 AND tenant = $2", job_id, tenant)
    if job is not None and job["state"] in ("queued", "running") and job["kind"] in _KEPT_KINDS:
        message = f"A {job['kind']} job cannot be canceled: what it removes is gone for everybody already."
        raise Conflict(message, code="not_cancelable")
    return None


async def retry(database: Database, tenant: str, job_id: uuid.UUID) -> Row:
    """Put a failed or canceled job back into its queue, as if new. Returns its kind, queue and batch key.

    Raises:
        Conflict: it has not ended, or it succeeded.
        NotFound: the tenant has no such job.
    """
    row = await database.fetchrow(RETRY, job_id, tenant)
    if row is None:
        state = await database.fetchrow("SELECT state FROM jobs WHERE id = $1 AND tenant = $2", job_id, tenant)
        if state is None:
            raise no_such_job(job_id)
        raise Conflict(f"The job is {state['state']}; only a failed or canceled one can be retried.")
    return row


async def lock_for_deletion(connection: Connection, tenant: str, job_id: uuid.UUID) -> list[str]:
    """Hold a job that may be deleted until the transaction ends. Returns the files it holds on to.

    Raises:
        Conflict: a worker is running it (`job_running`).
        NotFound: the tenant has no such job.
    """
    row = await connection.fetchrow(_LOCK, job_id, tenant)
    if row is None:
        raise no_such_job(job_id)
    if row["state"] == "running":
        raise Conflict(
            "The job is running. Cancel it, wait until it has ended, and delete it then.", code="job_running"
        )
    return [held["file_id"] for held in await connection.fetch(_FILES, job_id)]


async def delete(connection: Connection, job_id: uuid.UUID, file_ids: list[str]) -> list[str]:
    """Delete a locked job, and the rows of files that nothing else needs. Returns these files' storage keys: erase
    them before the transaction ends (`shared/files.py` says why).
    """
    await connection.execute(_DELETE, job_id)
    unused = await connection.fetch(files.UNUSED_OF, file_ids, files.ERASE_AFTER_SECONDS)
    await connection.execute(files.ERASE, [row["id"] for row in unused])
    return [row["storage_key"] for row in unused]


async def set_paused(database: Database, queue: str, paused: bool) -> None:
    """A paused queue is not claimed from; what runs goes on, and submissions are still accepted."""
    await database.execute(_PAUSE, queue, paused)


async def next_seq(database: Database | Connection) -> int:
    """A place of its own in the order of submission, for a write that no job does: jobs submitted before it must not
    undo it, later ones may."""
    row = await database.fetchrow(_NEXT_SEQ)
    assert row is not None
    return int(row["seq"])


def no_such_job(job_id: object) -> NotFound:
    return NotFound(f"There is no job {job_id}.")
