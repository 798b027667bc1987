"""Groups of jobs are inserted in one order, whoever sent them first."""

from datetime import UTC, datetime
from typing import Any, cast

from shared.database.asynchronous import Database
from shared.jobs import submission
from shared.jobs.submission import NewJob


class RecordingDatabase:
    """Accepts every insert and remembers the order of its rows: (tenant, idempotency key)."""

    def __init__(self) -> None:
        self.orders: list[list[tuple[str, str | None]]] = []

    async def fetch(self, statement: str, *columns: Any) -> list[dict[str, Any]]:
        ids, tenants, keys = columns[0], columns[1], columns[11]
        self.orders.append(list(zip(tenants, keys, strict=True)))
        return [{"id": id, "created_at": datetime.now(UTC), "ahead": 0} for id in ids]


def job(tenant: str, key: str | None) -> NewJob:
    id = submission.new_id()
    return NewJob(id, tenant, None, "noop", "noop", None, 1, "{}", "{}", 3, 60.0, key, b"h" if key else None)


async def test_tenants_with_equal_keys_cannot_lock_each_other_out() -> None:
    database = RecordingDatabase()
    keys = [("b", "x"), ("a", "x"), ("a", None), ("b", "w")]
    for order in (keys, keys[::-1]):
        await submission.insert(cast(Database, database), [job(tenant, key) for tenant, key in order])
    assert database.orders[0] == database.orders[1] == [("a", None), ("a", "x"), ("b", "w"), ("b", "x")]
