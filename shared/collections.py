"""The `collections` table, for synchronous processes: who owns which vectors, and which model made them."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import psycopg
import uuid_utils
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from shared.vectors.protocol import CollectionRef

Connection = psycopg.Connection[Any]
Distance = Literal["cosine", "dot", "euclidean"]
"""How far results are said to be from the query. Vectors are of unit length, so the order is the same for each."""

REMOVAL_PAGE = 5_000
"""Noted files of a deleted collection that one statement removes."""


@dataclass(frozen=True)
class CollectionRow:
    """A collection as its row has it."""

    id: uuid.UUID
    tenant: str
    name: str
    model: str
    dimension: int
    version: int
    """Moves with every write into the collection."""
    vectors_id: uuid.UUID
    """What the vector store knows it by."""
    distance: Distance = "cosine"
    payload_schema: dict[str, str] | None = None
    touches: int = 0
    """Moves as jobs confirm unchanged items."""
    created_at: datetime | None = None

    @property
    def ref(self) -> CollectionRef:
        return CollectionRef(id=self.vectors_id, dimension=self.dimension)


COLUMNS = "id, tenant, name, model, dimension, version, vectors_id, distance, payload_schema, touches, created_at"
"""Those of a `CollectionRow`."""


def find(connection: Connection, tenant: str, name: str) -> CollectionRow | None:
    """The tenant's collection of that name."""
    return _one(connection, "tenant = %s AND name = %s AND deleted_at IS NULL", tenant, name)


def get(connection: Connection, collection_id: uuid.UUID) -> CollectionRow | None:
    """A collection that is there, as it is now."""
    return _one(connection, "id = %s AND deleted_at IS NULL", collection_id)


def deleted(connection: Connection, collection_id: uuid.UUID) -> CollectionRow | None:
    """A collection that nobody finds any more, as long as something of it is left."""
    return _one(connection, "id = %s AND deleted_at IS NOT NULL", collection_id)


def _one(connection: Connection, condition: str, *arguments: object) -> CollectionRow | None:
    with connection.cursor(row_factory=class_row(CollectionRow)) as cursor:
        query: Any = f"SELECT {COLUMNS} FROM collections WHERE {condition}"
        return cursor.execute(query, arguments).fetchone()


def ensure(
    connection: Connection,
    tenant: str,
    name: str,
    *,
    model: str,
    dimension: int,
    distance: Distance = "cosine",
    schema: Mapping[str, str] | None = None,
) -> CollectionRow:
    """The tenant's collection of that name, made with this model when it is not there yet.

    Whoever comes second finds what the first one made, with the first one's model: the caller compares.
    """
    new_id = uuid.UUID(str(uuid_utils.uuid7()))
    connection.execute(
        "INSERT INTO collections (id, vectors_id, tenant, name, model, dimension, distance, payload_schema) "
        "VALUES (%s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT (tenant, name) WHERE deleted_at IS NULL DO NOTHING",
        (new_id, new_id, tenant, name, model, dimension, distance, None if schema is None else Jsonb(dict(schema))),
    )
    row = find(connection, tenant, name)
    if row is None:  # deleted between the two statements: the next attempt makes it anew
        raise psycopg.errors.SerializationFailure("the collection was deleted while it was being made")
    return row


def of_tenant(connection: Connection, tenant: str, *, after: str | None, limit: int) -> list[CollectionRow]:
    """A tenant's collections in the order of their names, from the one after `after` on."""
    with connection.cursor(row_factory=class_row(CollectionRow)) as cursor:
        cursor.execute(
            f"SELECT {COLUMNS} FROM collections WHERE tenant = %(tenant)s AND deleted_at IS NULL "
            "AND (%(after)s::text IS NULL OR name > %(after)s) ORDER BY name LIMIT %(limit)s",
            {"tenant": tenant, "after": after, "limit": limit},
        )
        return cursor.fetchall()


def await_writers(connection: Connection, collection_id: uuid.UUID) -> None:
    """Return once every write that found a collection before it was deleted has ended; later ones are refused.

    Marking the row does not wait for them, since they lock it `FOR KEY SHARE` (`shared/vectors/fencing.py`).
    """
    connection.execute("SELECT 1 FROM collections WHERE id = %s FOR UPDATE", (collection_id,))


def forget_files(connection: Connection, collection_id: uuid.UUID) -> bool:
    """Let go of a page of the pictures that a collection's items were made from. False: there are no more."""
    gone = connection.execute(
        "DELETE FROM item_files WHERE ctid = ANY (ARRAY("
        "SELECT ctid FROM item_files WHERE collection_id = %s LIMIT %s FOR UPDATE SKIP LOCKED))",
        (collection_id, REMOVAL_PAGE),
    )
    return gone.rowcount > 0


def delete(connection: Connection, collection_id: uuid.UUID) -> None:
    """Delete the row, the last that is left of a collection: what it owns is the caller's to remove before."""
    connection.execute("DELETE FROM collections WHERE id = %s", (collection_id,))


def abandoned(connection: Connection, *, after_seconds: float, limit: int) -> list[CollectionRow]:
    """Deleted collections whose job is not at it: it has failed, or it was deleted itself."""
    with connection.cursor(row_factory=class_row(CollectionRow)) as cursor:
        cursor.execute(
            f"SELECT {COLUMNS} FROM collections WHERE deleted_at < now() - make_interval(secs => %(after)s) "
            "AND NOT EXISTS (SELECT 1 FROM jobs WHERE jobs.tenant = collections.tenant AND kind = 'delete_collection' "
            "AND state IN ('queued', 'running') AND input ->> 'collection_id' = collections.id::text) "
            "ORDER BY deleted_at LIMIT %(limit)s",
            {"after": after_seconds, "limit": limit},
        )
        return cursor.fetchall()


def page(connection: Connection, after: uuid.UUID | None, limit: int) -> list[CollectionRow]:
    """Every tenant's collections in the order of their ids, for housekeeping."""
    with connection.cursor(row_factory=class_row(CollectionRow)) as cursor:
        cursor.execute(
            f"SELECT {COLUMNS} FROM collections WHERE deleted_at IS NULL "
            "AND (%(after)s::uuid IS NULL OR id > %(after)s) ORDER BY id LIMIT %(limit)s",
            {"after": after, "limit": limit},
        )
        return cursor.fetchall()
