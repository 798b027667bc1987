"""The `files` table: stored pictures, and which jobs hold on to them."""

import structlog

from shared.database.pool import Connection
from shared.storage import Storage

log = structlog.get_logger(__name__)

# Locked row by row, so a request that brings the same bytes again waits and then writes its row (and file) anew.
_TAKE_UNUSED = """
DELETE FROM files WHERE id IN (
  SELECT id FROM files f
  WHERE touched_at < now() - make_interval(secs => %(age)s)
    AND NOT EXISTS (SELECT 1 FROM job_files WHERE file_id = f.id)
  ORDER BY touched_at LIMIT %(page)s FOR UPDATE SKIP LOCKED
) RETURNING storage_key
"""


def erase_unused_files(connection: Connection, storage: Storage, *, page: int, unused_seconds: float = 3600.0) -> int:
    """Erase stored pictures that no job holds and that no request has brought for a while.

    The file goes first, inside the transaction that deletes its row: a crash between the two leaves a row, which the
    next round takes again, never a file that nobody knows of.
    """
    with connection.transaction():
        rows = connection.execute(_TAKE_UNUSED, {"age": unused_seconds, "page": page}).fetchall()
        for (key,) in rows:
            storage.delete(key)
    return len(rows)
