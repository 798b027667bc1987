"""Jobs as rows, without an API: what the statements of `shared/jobs/` are tested on."""

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import orjson
import psycopg
import pytest
import uuid_utils

from shared.database.pool import Connection, connect

AddJob = Callable[..., uuid.UUID]


def add_job(connection: Connection, **columns: Any) -> uuid.UUID:
    """Insert a queued job; columns may be overridden, times given as offsets in seconds (`next_run_in=-5`)."""
    job_id = uuid.UUID(str(uuid_utils.uuid7()))
    values: dict[str, Any] = {
        "id": job_id,
        "tenant": "t",
        "kind": "noop",
        "queue": "noop",
        "batch_key": "noop",
        "input": "{}",
        "timeout_seconds": 60,
        **columns,
    }
    if isinstance(values["input"], dict):
        values["input"] = orjson.dumps(values["input"]).decode()
    offsets = {name: values.pop(name) for name in list(values) if name.endswith("_in")}
    names = [*values, *(name.removesuffix("_in") + "_at" for name in offsets)]
    marks = ["%s"] * len(values) + ["now() + make_interval(secs => %s)"] * len(offsets)
    connection.execute(
        f"INSERT INTO jobs ({', '.join(names)}) VALUES ({', '.join(marks)})", [*values.values(), *offsets.values()]
    )
    return job_id


def pass_time(connection: Connection, seconds: float) -> None:
    """Move every clock of every job back, which is as good as waiting."""
    columns = [
        "created_at",
        "next_run_at",
        "started_at",
        "completed_at",
        "expires_at",
        "lease_until",
        "deadline_at",
        "cancel_at",
    ]
    moved = ", ".join(f"{name} = {name} - make_interval(secs => %(seconds)s)" for name in columns)
    connection.execute(f"UPDATE jobs SET {moved}", {"seconds": seconds})


def job_row(connection: Connection, job_id: uuid.UUID) -> dict[str, Any]:
    with connection.cursor(row_factory=psycopg.rows.dict_row) as cursor:
        row = cursor.execute("SELECT * FROM jobs WHERE id = %s", (job_id,)).fetchone()
    assert row is not None
    return row


@pytest.fixture
def connection(postgres_url: str) -> Iterator[Connection]:
    with connect(postgres_url) as connection:
        yield connection


@pytest.fixture
def add(connection: Connection) -> AddJob:
    return lambda **columns: add_job(connection, **columns)
