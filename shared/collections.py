"""The `collections` table, for synchronous processes: who owns which vectors, and which model made them."""

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
import uuid_utils
from psycopg.rows import class_row

from shared.vectors.protocol import CollectionRef

Connection = psycopg.Connection[Any]


@dataclass(frozen=True)
class CollectionRow:
    """A collection as its row has it."""

    id: uuid.UUID
    tenant: str
    name: str
    model: str
    dimension: int
    version: int
    created_at: datetime | None = None

    @property
    def ref(self) -> CollectionRef:
        return CollectionRef(id=self.id, dimension=self.dimension)


_COLUMNS = "id, tenant, name, model, dimension, version, created_at"


def find(connection: Connection, tenant: str, name: str) -> CollectionRow | None:
    """The tenant's collection of that name."""
    with connection.cursor(row_factory=class_row(CollectionRow)) as cursor:
        cursor.execute(f"SELECT {_COLUMNS} FROM collections WHERE tenant = %s AND name = %s", (tenant, name))
        return cursor.fetchone()


def ensure(connection: Connection, tenant: str, name: str, *, model: str, dimension: int) -> CollectionRow:
    """The tenant's collection of that name, made with this model when it is not there yet.

    Whoever comes second finds what the first one made, with the first one's model: the caller compares.
    """
    connection.execute(
        "INSERT INTO collections (id, tenant, name, model, dimension) VALUES (%s, %s, %s, %s, %s) "
        "ON CONFLICT (tenant, name) DO NOTHING",
        (uuid.UUID(str(uuid_utils.uuid7())), tenant, name, model, dimension),
    )
    row = find(connection, tenant, name)
    if row is None:  # deleted between the two statements: the next attempt makes it anew
        raise psycopg.errors.SerializationFailure("the collection was deleted while it was being made")
    return row


def of_tenant(connection: Connection, tenant: str, *, after: str | None, limit: int) -> list[CollectionRow]:
    """A tenant's collections in the order of their names, from the one after `after` on."""
    with connection.cursor(row_factory=class_row(CollectionRow)) as cursor:
        cursor.execute(
            f"SELECT {_COLUMNS} FROM collections WHERE tenant = %(tenant)s "
            "AND (%(after)s::text IS NULL OR name > %(after)s) ORDER BY name LIMIT %(limit)s",
            {"tenant": tenant, "after": after, "limit": limit},
        )
        return cursor.fetchall()


def delete(connection: Connection, collection_id: uuid.UUID) -> None:
    """Delete the row; the vectors are the caller's to drop."""
    connection.execute("DELETE FROM collections WHERE id = %s", (collection_id,))


def note_write(connection: Connection, collection_id: uuid.UUID) -> None:
    """Move the collection's version: results computed before are old now."""
    connection.execute("UPDATE collections SET version = version + 1 WHERE id = %s", (collection_id,))


def page(connection: Connection, after: uuid.UUID | None, limit: int) -> list[CollectionRow]:
    """Every tenant's collections in the order of their ids, for housekeeping."""
    with connection.cursor(row_factory=class_row(CollectionRow)) as cursor:
        cursor.execute(
            f"SELECT {_COLUMNS} FROM collections WHERE %(after)s::uuid IS NULL OR id > %(after)s "
            "ORDER BY id LIMIT %(limit)s",
            {"after": after, "limit": limit},
        )
        return cursor.fetchall()
