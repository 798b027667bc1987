"""The `item_files` table: stored pictures that items were made from are kept as long as the item.

A write notes its pictures before it writes its items, and while its job holds on to the same files. So whatever dies in
between, a picture is noted too much rather than too little; `drop_stale` finds out which.
"""

import uuid
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.rows import class_row

from shared.vectors.fencing import collection_gone
from shared.vectors.protocol import CollectionRef

Connection = psycopg.Connection[Any]
FilesOf = Callable[[CollectionRef, Collection[str]], Mapping[str, str]]
"""The file that each of these items, by id, is made from now; those without one are left out."""

# Held, so that its vectors are not replaced while its items are looked up in them.
_HOLD = """
SELECT vectors_id AS id, dimension FROM collections WHERE id = %s AND deleted_at IS NULL FOR KEY SHARE
"""

# The update of what is there already makes it wait for whoever is looking at the row.
_NOTE = """
INSERT INTO item_files (collection_id, item_id, file_id)
SELECT %(collection)s, noted.item_id, files.id
FROM unnest(%(items)s::text[], %(files)s::text[]) AS noted(item_id, file_id) JOIN files ON files.id = noted.file_id
ORDER BY noted.item_id COLLATE "C", files.id
ON CONFLICT (collection_id, item_id, file_id) DO UPDATE SET file_id = EXCLUDED.file_id
"""

_LOCK_PAGE = """
SELECT item_id, file_id FROM item_files
WHERE collection_id = %(collection)s AND (item_id, file_id) > (%(item)s, %(file)s)
ORDER BY item_id, file_id LIMIT %(page)s FOR UPDATE SKIP LOCKED
"""

_IN_USE = """
SELECT DISTINCT file_id FROM job_files JOIN jobs ON jobs.id = job_id
WHERE file_id = ANY (%s) AND state IN ('queued', 'running')
"""

_DROP = """
DELETE FROM item_files USING unnest(%(items)s::text[], %(files)s::text[]) AS stale(item_id, file_id)
WHERE collection_id = %(collection)s AND item_files.item_id = stale.item_id COLLATE "C"
  AND item_files.file_id = stale.file_id
"""


@dataclass(frozen=True, slots=True)
class Looked:
    """What a look at a page of notes came to. `last`: the (item, file) to go on after, None at the end."""

    dropped: int
    last: tuple[str, str] | None


def keep(connection: Connection, collection_id: uuid.UUID, files: Mapping[str, str]) -> None:
    """Keep stored pictures (file by item) as long as these items of the collection are made from them.

    Call it before the items are written, by a job that holds the files.

    Raises:
        PermanentJobError: the collection was deleted, and nothing of it is left (`collection_unknown`).
    """
    names = {"collection": collection_id, "items": list(files), "files": list(files.values())}
    try:
        connection.execute(_NOTE, names)
    except psycopg.errors.ForeignKeyViolation as error:  # the files are there: the job holds them
        raise collection_gone() from error


def drop_stale(
    connection: Connection, collection_id: uuid.UUID, files_of: FilesOf, *, after: tuple[str, str] | None, page: int
) -> Looked:
    """Let go of the pictures that their items are not made from any more, on the page after `after`.

    What a job holds that may still write is left alone: which jobs these are is asked once the notes are locked, and
    the items are read after that. A job noted before the lock either counts as one of them, or its items are there; one
    that comes later waits, and notes its pictures anew. The items are those of the vectors that the collection has
    right then, whatever it had when the caller came upon it.
    """
    item, file = after or ("", "")
    with connection.transaction():
        connection.execute("SET LOCAL idle_in_transaction_session_timeout = '60s'")  # jobs may wait for the notes
        with connection.cursor(row_factory=class_row(CollectionRef)) as cursor:
            vectors = cursor.execute(_HOLD, (collection_id,)).fetchone()
        if vectors is None:  # deleted: its notes go with it
            return Looked(0, None)
        named = {"collection": collection_id, "item": item, "file": file, "page": page}
        rows = connection.execute(_LOCK_PAGE, named).fetchall()
        if not rows:
            return Looked(0, None)
        in_use = {row[0] for row in connection.execute(_IN_USE, ([file for _, file in rows],))}
        idle = [(item, file) for item, file in rows if file not in in_use]
        current = files_of(vectors, [item for item, _ in idle]) if idle else {}
        stale = [(item, file) for item, file in idle if current.get(item) != file]
        if stale:
            items, files = zip(*stale, strict=True)
            connection.execute(_DROP, {"collection": collection_id, "items": list(items), "files": list(files)})
    return Looked(len(stale), rows[-1] if len(rows) == page else None)
