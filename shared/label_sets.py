"""The `label_sets` table: labels and templates under a name, of one tenant. A `Database` serves as the connection."""

from dataclasses import dataclass
from datetime import datetime

from shared.database.asynchronous import Connection, Row

_COLUMNS = "name, labels, templates, created_at, updated_at"
FIND = f"SELECT {_COLUMNS} FROM label_sets WHERE tenant = $1 AND name = $2"
_PUT = f"""
INSERT INTO label_sets (tenant, name, labels, templates) VALUES ($1, $2, $3, $4)
ON CONFLICT (tenant, name) DO UPDATE
  SET labels = excluded.labels, templates = excluded.templates, updated_at = now()
RETURNING {_COLUMNS}, xmax = 0 AS is_new
"""
PAGE_BYTES = 8_000_000
"""Of labels: the set with which a page comes to hold so much is its last. One set may have 800 kB of them."""
_PAGE = f"""
SELECT {_COLUMNS}, candidates FROM (
  SELECT *, count(*) OVER () AS candidates,
    sum(octet_length(array_to_string(labels, ''))) OVER (ORDER BY name ROWS UNBOUNDED PRECEDING EXCLUDE CURRENT ROW)
      AS bytes_before
  FROM (
    SELECT * FROM label_sets WHERE tenant = $1 AND ($2::text IS NULL OR name > $2) ORDER BY name LIMIT $3
  ) limited
) counted
WHERE COALESCE(bytes_before, 0) < {PAGE_BYTES} ORDER BY name
"""
_DELETE = "DELETE FROM label_sets WHERE tenant = $1 AND name = $2 RETURNING name"


@dataclass(frozen=True)
class LabelSetRow:
    """A label set as its row has it: labels and templates as `shared/contracts/labels.py` lets them through."""

    name: str
    labels: list[str]
    templates: list[str]
    created_at: datetime
    updated_at: datetime


async def find(connection: Connection, tenant: str, name: str) -> LabelSetRow | None:
    """The tenant's label set of that name."""
    row = await connection.fetchrow(FIND, tenant, name)
    return None if row is None else _from(row)


async def put(
    connection: Connection, tenant: str, name: str, *, labels: list[str], templates: list[str]
) -> tuple[LabelSetRow, bool]:
    """Make the set or replace its content; answers it, and whether it is new."""
    row = await connection.fetchrow(_PUT, tenant, name, labels, templates)
    assert row is not None
    return _from(row), row["is_new"]


async def page(connection: Connection, tenant: str, *, after: str | None, limit: int) -> tuple[list[LabelSetRow], bool]:
    """At most `limit` of a tenant's sets, or PAGE_BYTES of them, in the order of their names, from the one after
    `after` on; and whether there are more.
    """
    rows = await connection.fetch(_PAGE, tenant, after, limit + 1)
    more = bool(rows) and rows[0]["candidates"] > min(len(rows), limit)
    return [_from(row) for row in rows[:limit]], more


async def delete(connection: Connection, tenant: str, name: str) -> bool:
    """Delete a set; whether it was there. Jobs that were submitted with it hold its labels themselves."""
    return await connection.fetchrow(_DELETE, tenant, name) is not None


def _from(row: Row) -> LabelSetRow:
    return LabelSetRow(row["name"], list(row["labels"]), list(row["templates"]), row["created_at"], row["updated_at"])
