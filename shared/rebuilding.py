"""Another model's vectors for a collection: made under an id of their own beside the old ones, then put in their place.

Until then, and for `REPLACED_SECONDS` after, the old ones can be searched. Writers hold the collection's row as they
write, and every write moves its `version`: so whoever has the row `FOR UPDATE` and finds the version that it began
with has seen every write there was, and none is under way.
"""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.rows import class_row

from shared.collections import COLUMNS, CollectionRow
from shared.vectors.fencing import collection_gone, hold_job
from shared.vectors.protocol import CollectionRef, Fence

Connection = psycopg.Connection[Any]

BUILD_SECONDS = 86_400.0
"""A build that no attempt has worked on for so long is removed: its job has failed, and was not retried."""
REPLACED_SECONDS = 600.0
"""Replaced vectors stay so long, for searches that began with them."""
REMEMBER_SECONDS = 86_400.0
"""How long it is remembered that vectors were replaced: longer than an attempt that writes may run."""

_GIVE_UP = "SET LOCAL idle_in_transaction_session_timeout = '60s'"
"""A process that stands still must not keep everybody else waiting: Postgres ends its transaction for it."""
_PUT_OFF = """
INSERT INTO discarded_vectors (vectors_id, dimension, remove_after)
VALUES (%(id)s, %(dimension)s, now() + make_interval(secs => %(seconds)s))
ON CONFLICT (vectors_id) DO UPDATE SET remove_after = EXCLUDED.remove_after, removed_at = NULL
"""
_SWAP = "UPDATE collections SET model = %s, dimension = %s, vectors_id = %s, version = version + 1 WHERE id = %s"
_DUE = """
SELECT vectors_id AS id, dimension FROM discarded_vectors
WHERE remove_after < now() AND removed_at IS NULL
  AND NOT EXISTS (SELECT 1 FROM collections WHERE collections.vectors_id = discarded_vectors.vectors_id)
ORDER BY remove_after LIMIT 1 FOR UPDATE SKIP LOCKED
"""


def set_removal(connection: Connection, vectors: CollectionRef, *, in_seconds: float) -> None:
    """Have vectors that are no collection's removed after so long. Waits while they are being removed."""
    connection.execute(_PUT_OFF, {"id": vectors.id, "dimension": vectors.dimension, "seconds": in_seconds})


@dataclass(frozen=True)
class Locked:
    """A collection that nobody writes to, until the transaction ends."""

    connection: Connection
    row: CollectionRow

    def replace_vectors(self, vectors: CollectionRef, model: str) -> None:
        """Put these vectors, made by `model`, in the place of the collection's own."""
        self.connection.execute("DELETE FROM discarded_vectors WHERE vectors_id = %s", (vectors.id,))
        self.connection.execute(_SWAP, (model, vectors.dimension, vectors.id, self.row.id))
        set_removal(self.connection, self.row.ref, in_seconds=REPLACED_SECONDS)


@contextmanager
def locked(connection: Connection, collection_id: uuid.UUID, fence: Fence) -> Iterator[Locked]:
    """The collection, once all who write to it have ended; whoever comes next waits for the block's end.

    Raises:
        LeaseLost: the attempt no longer owns its job.
        PermanentJobError: the collection was deleted (`collection_unknown`).
    """
    with connection.transaction():
        connection.execute(_GIVE_UP)
        hold_job(connection, fence)
        with connection.cursor(row_factory=class_row(CollectionRow)) as cursor:
            query: Any = f"SELECT {COLUMNS} FROM collections WHERE id = %s AND deleted_at IS NULL FOR UPDATE"
            row = cursor.execute(query, (collection_id,)).fetchone()
        if row is None:
            raise collection_gone()
        yield Locked(connection, row)


@contextmanager
def next_removal(connection: Connection) -> Iterator[CollectionRef | None]:
    """Vectors whose time has come, for the block to remove; None when there are none. One that fails is due again."""
    with connection.transaction():
        with connection.cursor(row_factory=class_row(CollectionRef)) as cursor:
            vectors = cursor.execute(_DUE).fetchone()
        yield vectors
        if vectors is not None:
            connection.execute("UPDATE discarded_vectors SET removed_at = now() WHERE vectors_id = %s", (vectors.id,))


def forget_removed(connection: Connection) -> None:
    """Forget vectors that were removed long ago."""
    connection.execute(
        "DELETE FROM discarded_vectors WHERE removed_at < now() - make_interval(secs => %s)", (REMEMBER_SECONDS,)
    )
