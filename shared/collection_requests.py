"""What requests do to a collection as a whole, for the API: hold it while items are written, delete it, rebuild it."""

import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import orjson

from shared.collections import COLUMNS, CollectionRow
from shared.database.asynchronous import Connection, Database, Row
from shared.errors import Conflict, NotFound
from shared.jobs import submission
from shared.jobs.submission import Accepted, NewJob

MakeJob = Callable[[CollectionRow], NewJob]

_THERE = "FROM collections WHERE tenant = $1 AND name = $2 AND deleted_at IS NULL"
_HOLD = f"SELECT {COLUMNS} {_THERE} FOR KEY SHARE"
_LOCK = f"SELECT {COLUMNS} {_THERE} FOR NO KEY UPDATE"
_MARK = "UPDATE collections SET deleted_at = now(), version = version + 1 WHERE id = $1"
_REBUILDING = """
SELECT id, input ->> 'model' AS model FROM jobs
WHERE tenant = $1 AND kind = 'reembed' AND state IN ('queued', 'running') AND input ->> 'collection_id' = $2
ORDER BY id LIMIT 1
"""


@dataclass(frozen=True)
class Held:
    """A collection that is neither deleted nor given other vectors as long as the transaction lasts."""

    row: CollectionRow
    connection: Connection


@asynccontextmanager
async def held(database: Database, tenant: str, name: str) -> AsyncIterator[Held]:
    """Hold a collection until the block ends, for writes of no job.

    Raises:
        NotFound: the tenant has no collection of that name.
    """
    async with database.transaction() as connection:
        yield Held(await _found(connection, _HOLD, tenant, name), connection)


async def delete(database: Database, tenant: str, name: str, make_job: MakeJob) -> tuple[NewJob, Accepted]:
    """From here on nobody finds the collection, and its name is free. The job that removes the rest is committed with
    that.

    Raises:
        NotFound: the tenant has no collection of that name.
    """
    async with database.transaction() as connection:
        row = await _found(connection, _LOCK, tenant, name)
        await connection.execute(_MARK, row.id)
        job = make_job(row)
        return job, await submission.insert_within(connection, job)


async def reembed(database: Database, tenant: str, name: str, make_job: MakeJob) -> tuple[NewJob, Accepted]:
    """Accept a job that makes a collection's vectors anew.

    Raises:
        NotFound: the tenant has no collection of that name.
        Conflict: such a job is queued or running (`rebuilding`).
    """
    async with database.transaction() as connection:
        row = await _found(connection, _LOCK, tenant, name)  # one request after the other
        if (other := await connection.fetchrow(_REBUILDING, tenant, str(row.id))) is not None:
            message = f"The job {other['id']} embeds this collection anew. Wait for its end, or cancel it."
            raise Conflict(message, code="rebuilding")
        job = make_job(row)
        return job, await submission.insert_within(connection, job)


async def rebuilding(database: Database, tenant: str, collection_id: uuid.UUID) -> tuple[uuid.UUID, str] | None:
    """The job that embeds a collection anew, and with which model."""
    row = await database.fetchrow(_REBUILDING, tenant, str(collection_id))
    return (row["id"], row["model"]) if row else None


async def _found(connection: Connection, statement: str, tenant: str, name: str) -> CollectionRow:
    row = None if "\0" in name else await connection.fetchrow(statement, tenant, name)
    if row is None:
        raise no_such_collection(name)
    return _collection(row)


def no_such_collection(name: str) -> NotFound:
    return NotFound(f"There is no collection {name[:128]!a}.")


def _collection(row: Row) -> CollectionRow:
    schema = row["payload_schema"]
    return CollectionRow(**{**row, "payload_schema": None if schema is None else orjson.loads(schema)})
