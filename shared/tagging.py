"""What tagging writes into `tagged_images`: every statement of it, for synchronous processes.

A row is a tenant's picture by its path. The tags of a job never replace those of a job that was submitted later
(`version` is the job's `seq`), and tags that people gave or took away are not touched: `tags` follows from both.
Writes happen while the attempt owns its job; rows are taken in the order of their paths, so that two jobs cannot lock
each other out.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
import psycopg
from psycopg.rows import class_row

from shared.vectors.fencing import hold_job
from shared.vectors.protocol import Fence

Connection = psycopg.Connection[Any]


@dataclass(frozen=True, slots=True)
class TaggedFile:
    """A picture with the tags that a model found."""

    path: str
    """At most 1,000 characters."""
    tags: Sequence[tuple[str, float]]
    """Best first."""
    taken_at: datetime | None = None
    """Its zone is dropped: what counts is what the camera's clock showed."""
    file_hash: str | None = None
    """SHA-256 of the file's bytes."""
    size: int | None = None
    """Bytes, of a file in a directory."""
    mtime_ns: int | None = None


@dataclass(frozen=True, slots=True)
class KnownFile:
    """What is known of a picture that was tagged before."""

    path: str
    recipe: str | None
    version: int
    size: int | None
    mtime_ns: int | None
    file_hash: str | None


@dataclass(frozen=True, slots=True)
class SameFile:
    """A file whose tags stand, with its size and time as they are now."""

    path: str
    size: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class Tagging:
    """Whose write it is: the job's tenant, its place in the order of submission, and what must own it meanwhile."""

    tenant: str
    version: int
    fence: Fence


_KNOWN = """
SELECT image_path AS path, recipe, version, file_size AS size, file_mtime_ns AS mtime_ns, file_hash
FROM tagged_images WHERE tenant = %(tenant)s AND image_path = ANY(%(paths)s)
"""

_SAVE = """
INSERT INTO tagged_images
  (tenant, image_path, found_tags, exif_datetime, model, recipe, file_size, file_mtime_ns, file_hash, version)
SELECT %(tenant)s, path, tags::jsonb, taken_at, %(model)s, %(recipe)s, size, mtime_ns, file_hash, %(version)s
FROM unnest(%(paths)s::text[], %(tags)s::text[], %(taken)s::timestamp[], %(sizes)s::bigint[], %(mtimes)s::bigint[],
  %(hashes)s::text[]) AS file(path, tags, taken_at, size, mtime_ns, file_hash)
ORDER BY path COLLATE "C"
ON CONFLICT (tenant, image_path) DO UPDATE SET
  found_tags = excluded.found_tags, exif_datetime = excluded.exif_datetime, model = excluded.model,
  recipe = excluded.recipe, file_size = excluded.file_size, file_mtime_ns = excluded.file_mtime_ns,
  file_hash = excluded.file_hash, version = excluded.version, updated_at = now()
WHERE tagged_images.version <= excluded.version
"""

_CONFIRM = """
WITH same AS MATERIALIZED (
  SELECT id, file.size, file.mtime_ns
  FROM unnest(%(paths)s::text[], %(sizes)s::bigint[], %(mtimes)s::bigint[]) AS file(path, size, mtime_ns)
  JOIN tagged_images ON tenant = %(tenant)s AND image_path = file.path AND recipe = %(recipe)s
  ORDER BY image_path COLLATE "C" FOR UPDATE OF tagged_images
)
UPDATE tagged_images
SET version = GREATEST(version, %(version)s), file_size = same.size, file_mtime_ns = same.mtime_ns
FROM same WHERE tagged_images.id = same.id
RETURNING image_path
"""


def known(connection: Connection, tenant: str, paths: Collection[str]) -> dict[str, KnownFile]:
    """Those of the pictures that have been tagged before, by path."""
    with connection.cursor(row_factory=class_row(KnownFile)) as cursor:
        cursor.execute(_KNOWN, {"tenant": tenant, "paths": list(paths)})
        return {file.path: file for file in cursor}


def save(connection: Connection, files: Sequence[TaggedFile], tagging: Tagging, *, model: str, recipe: str) -> None:
    """Store tags, each over what an earlier job or nobody found. Of two files with one path the last counts.

    Raises:
        LeaseLost: the attempt no longer owns its job; nothing is written.
    """
    rows = list({file.path: file for file in files}.values())
    values = {
        "tenant": tagging.tenant,
        "version": tagging.version,
        "model": model,
        "recipe": recipe,
        "paths": [row.path for row in rows],
        "tags": [_json(row.tags) for row in rows],
        "taken": [row.taken_at.replace(tzinfo=None) if row.taken_at else None for row in rows],
        "sizes": [row.size for row in rows],
        "mtimes": [row.mtime_ns for row in rows],
        "hashes": [row.file_hash for row in rows],
    }
    with connection.transaction():
        hold_job(connection, tagging.fence)
        connection.execute(_SAVE, values)


def confirm(connection: Connection, files: Sequence[SameFile], tagging: Tagging, *, recipe: str) -> set[str]:
    """Say that the tags of these files stand: an earlier job that runs later will not replace them.

    Returns:
        The paths whose tags are still of this recipe. Others were tagged anew meanwhile.

    Raises:
        LeaseLost: the attempt no longer owns its job; nothing is written.
    """
    values = {
        "tenant": tagging.tenant,
        "version": tagging.version,
        "recipe": recipe,
        "paths": [file.path for file in files],
        "sizes": [file.size for file in files],
        "mtimes": [file.mtime_ns for file in files],
    }
    with connection.transaction():
        hold_job(connection, tagging.fence)
        return {path for (path,) in connection.execute(_CONFIRM, values)}


def _json(tags: Sequence[tuple[str, float]]) -> str:
    return orjson.dumps([{"tag": tag, "score": score} for tag, score in tags]).decode()
