"""The `collections` table, for synchronous processes: who owns which vectors, and which model made them."""

import uuid
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
    created_at: datetime | None = None

    @property
    def ref(self) -> CollectionRef:
        return CollectionRef(id=self.vectors_id, dimension=self.dimension)


_COLUMNS = "id, tenant, name, model, dimension, version, vectors_id, distance, payload_schema, created_at"


def find(connection: Connection, tenant: str, name: str) -> CollectionRow | None:
    """The tenant's collection of that name."""
    with connection.cursor(row_factory=class_row(CollectionRow)) as cursor:
        cursor.execute(
            f"SELECT {_COLUMNS} FROM collections WHERE tenant = %s AND name = %s AND deleted_at IS NULL",
            (tenant, name),
        )
        return cursor.fetchone()


def ensure(
    connection: Connection,
    tenant: str,
    name: str,
    *,
    model: str,
    dimension: int,
    distance: Distance = "cosine",
    schema: dict[str, str] | None = None,
) -> CollectionRow:
    """The tenant's collection of that name, made with this model when it is not there yet.

    Whoever comes second finds what the first one made, with the first one's model: the caller compares.
    """
    new_id = uuid.UUID(str(uuid_utils.uuid7()))
    connection.execute(
        "INSERT INTO collections (id, vectors_id, tenant, name, model, dimension, distance, payload_schema) "
        "VALUES (%s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT (tenant, name) WHERE deleted_at IS NULL DO NOTHING",
        (new_id, new_id, tenant, name, model, dimension, distance, None if schema is None else Jsonb(schema)),
    )
    row = find(connection, tenant, name)
    if row is None:  # deleted between the two statements: the next attempt makes it anew
        raise psycopg.errors.SerializationFailure("the collection was deleted while it was being made")
    return row


def of_tenant(connection: Connection, tenant: str, *, after: str | None, limit: int) -> list[CollectionRow]:
    """A tenant's collections in the order of their names, from the one after `after` on."""
    with connection.cursor(row_factory=class_row(CollectionRow)) as cursor:
        cursor.execute(
            f"SELECT {_COLUMNS} FROM collections WHERE tenant = %(tenant)s AND deleted_at IS NULL "
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
            f"SELECT {_COLUMNS} FROM collections WHERE deleted_at IS NULL "
            "AND (%(after)s::uuid IS NULL OR id > %(after)s) ORDER BY id LIMIT %(limit)s",
            {"after": after, "limit": limit},
        )
        return cursor.fetchall()
