"""The `files` table: pictures at rest, content-addressed within their tenant, and when they may be erased.

Whoever brings or names a picture touches its row first, before the file is written and before a job holds on to it. A
file is erased while its row is locked, and only when no job and no item (`shared/item_files.py`) holds it and nobody
touched it for longer than any request takes. So an erase cannot run into a request that brings the same bytes: that
request waits for the row, and then makes both anew.
"""

import base64
import hashlib
from dataclasses import dataclass
from typing import Any

import psycopg

from shared.storage import Storage

SWEEP_AFTER_SECONDS = 3_600.0
ERASE_AFTER_SECONDS = 600.0
"""A file that nobody touched for so long goes at once with the last job that holds it; a younger one is left to the
sweeper. Far longer than a request may take between touching a file and inserting its job."""

TOUCH = """
INSERT INTO files (id, tenant, sha256, storage_key, content_type, size, width, height)
SELECT * FROM unnest($1::text[], $2::text[], $3::bytea[], $4::text[], $5::text[], $6::bigint[], $7::int[], $8::int[])
ON CONFLICT (id) DO UPDATE SET touched_at = now()
"""
"""For asyncpg. Rows come in the order of their ids, so that two requests cannot lock each other out."""

TOUCH_KNOWN = """
UPDATE files SET touched_at = now() FROM (
  SELECT id FROM files WHERE tenant = $1 AND id = ANY($2::text[]) ORDER BY id FOR UPDATE
) known WHERE files.id = known.id RETURNING files.id
"""

_UNUSED = """
SELECT id, storage_key FROM files
WHERE touched_at < now() - make_interval(secs => %(after)s)
  AND NOT EXISTS (SELECT 1 FROM job_files WHERE file_id = files.id)
  AND NOT EXISTS (SELECT 1 FROM item_files WHERE file_id = files.id)
ORDER BY touched_at LIMIT %(page)s FOR UPDATE SKIP LOCKED
"""

UNUSED_OF = """
SELECT id, storage_key FROM files
WHERE id = ANY($1::text[]) AND touched_at < now() - make_interval(secs => $2::float8)
  AND NOT EXISTS (SELECT 1 FROM job_files WHERE file_id = files.id)
  AND NOT EXISTS (SELECT 1 FROM item_files WHERE file_id = files.id)
ORDER BY id FOR UPDATE SKIP LOCKED
"""
ERASE = "DELETE FROM files WHERE id = ANY($1::text[])"


@dataclass(frozen=True, slots=True)
class StoredPicture:
    """A row of `files`. `width` and `height` in pixels, `size` in bytes."""

    id: str
    tenant: str
    sha256: bytes
    storage_key: str
    content_type: str
    size: int
    width: int
    height: int


def file_id(tenant: str, sha256: bytes) -> str:
    """The id of these bytes for this tenant: the same bytes are the same file, and no other tenant can guess it."""
    digest = hashlib.sha256(tenant.encode() + b"\0" + sha256).digest()
    return "file_" + base64.b32encode(digest).decode().lower()[:26]


def erase_unused_files(connection: psycopg.Connection[Any], storage: Storage, *, page: int) -> int:
    """Erase files that no job or item holds and nobody touched for an hour, page after page. Returns how many.

    Raises:
        StorageError: the page it happened in keeps its rows, and the next call tries again.
    """
    erased = 0
    while count := _erase_page(connection, storage, page):
        erased += count
        if count < page:
            break
    return erased


def _erase_page(connection: psycopg.Connection[Any], storage: Storage, page: int) -> int:
    with connection.transaction():
        rows = connection.execute(_UNUSED, {"after": SWEEP_AFTER_SECONDS, "page": page}).fetchall()
        for _, key in rows:
            storage.delete(key)
        if rows:
            connection.execute("DELETE FROM files WHERE id = ANY(%s)", ([row[0] for row in rows],))
    return len(rows)
