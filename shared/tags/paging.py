"""Reading tagged pictures in pages: by score, by date or by path, each page from where the one before ended."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, TypeAlias

from shared.database.asynchronous import Connection, Row
from shared.tags.filtering import Arguments, TagFilter, best_score, conditions

Sort: TypeAlias = Literal["-score", "score", "-taken", "taken", "path", "-path"]
"""A minus begins with the highest score, the latest date, the last path."""
COLUMNS = "id, image_path, tags, exif_datetime, created_at, updated_at"
EXPORT_PAGE = 1_000
PAGE_BYTES = 8_000_000
"""Of tags: the picture with which a page comes to hold so much is its last. A picture may have a thousand tags."""
_TYPES = {"score": "float8", "taken": "timestamp", "path": "text"}
_COLUMN_KEYS = {"taken": "SELECT exif_datetime AS key", "path": "SELECT image_path AS key"}


@dataclass(frozen=True, slots=True)
class TaggedRow:
    """A picture with its tags."""

    id: int
    image_path: str
    tags: str
    """JSON."""
    taken_at: datetime | None
    """Local time without a zone."""
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Position:
    """Where a page ended: the row's score, date or path, and its id. Rows without a key come last in either order."""

    key: float | datetime | str | None
    id: int


@dataclass(frozen=True, slots=True)
class TaggedPage:
    """Some pictures. `following`: where the next page begins; None at the end."""

    rows: list[TaggedRow]
    following: Position | None


async def page(
    connection: Connection, filter: TagFilter, sort: Sort, *, after: Position | None = None, limit: int
) -> TaggedPage:
    """At most `limit` pictures after `after`, or PAGE_BYTES of them. Equal keys follow each other by id.

    A row that comes in meanwhile moves no other: one that was there throughout, and kept its key, is seen once.
    """
    rows: list[Row] = []
    more = False
    if after is None or after.key is not None:
        rows, more = await _fetch(connection, page_statement(filter, sort, after=after, limit=limit + 1))
    if not more and len(rows) <= limit and _may_lack_key(filter, sort):
        last = after if after is not None and after.key is None else None
        left = limit + 1 - len(rows)
        keyless, more = await _fetch(connection, page_statement(filter, sort, after=last, limit=left, keyless=True))
        rows += keyless
    more = more or len(rows) > limit
    rows = rows[:limit]
    return TaggedPage([from_row(row) for row in rows], Position(rows[-1]["key"], rows[-1]["id"]) if more else None)


async def _fetch(connection: Connection, statement: tuple[str, list[Any]]) -> tuple[list[Row], bool]:
    """The rows of a `page_statement`, and whether there are more that were too many bytes."""
    rows = await connection.fetch(statement[0], *statement[1])
    return rows, bool(rows) and rows[0]["candidates"] > len(rows)


def page_statement(
    filter: TagFilter, sort: Sort, *, after: Position | None, limit: int, keyless: bool = False
) -> tuple[str, list[Any]]:
    """The rows that have a key, or those that have none. Two statements, so that each can follow an index. Of `limit`
    `candidates`, those that PAGE_BYTES leave; one at least.
    """
    arguments = Arguments()
    name, descending = sort.lstrip("-"), sort.startswith("-")
    where = conditions(filter, arguments)
    keyed = _COLUMN_KEYS.get(name) or best_score(filter, arguments)
    direction, beyond = ("DESC", "<") if descending else ("ASC", ">")
    where += f" AND key IS {'' if keyless else 'NOT '}NULL"
    if after is not None and keyless:
        where += f" AND id {beyond} {arguments.add(after.id)}::int"
    elif after is not None:
        where += f" AND (key, id) {beyond} ({arguments.add(after.key)}::{_TYPES[name]}, {arguments.add(after.id)}::int)"
    order = f"id {direction}" if keyless else f"key {direction}, id {direction}"
    statement = f"""
      WITH candidates AS (
        SELECT {COLUMNS}, key FROM tagged_images CROSS JOIN LATERAL ({keyed}) keyed
        WHERE {where} ORDER BY {order} LIMIT {limit:d}
      ), sized AS (
        SELECT *, count(*) OVER () AS candidates,
               sum(octet_length(tags::text)) OVER (ORDER BY {order} ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
                 AS before
        FROM candidates
      )
      SELECT {COLUMNS}, key, candidates FROM sized WHERE COALESCE(before, 0) < {PAGE_BYTES:d} ORDER BY {order}
    """
    return statement, arguments.values


async def pages(connection: Connection, filter: TagFilter) -> AsyncIterator[list[TaggedRow]]:
    """All that the filter lets through, by path, a page at a time; no page is read before it is asked for.

    Holds no connection in between, however slow the reader is.
    """
    found = await page(connection, filter, "path", limit=EXPORT_PAGE)
    while found.rows:
        yield found.rows
        if found.following is None:
            return
        found = await page(connection, filter, "path", after=found.following, limit=EXPORT_PAGE)


async def find(connection: Connection, tenant: str, id: int) -> TaggedRow | None:
    """A tenant's picture by the id of its row."""
    row = await connection.fetchrow(f"SELECT {COLUMNS} FROM tagged_images WHERE id = $1 AND tenant = $2", id, tenant)
    return None if row is None else from_row(row)


def _may_lack_key(filter: TagFilter, sort: Sort) -> bool:
    if sort.endswith("taken"):
        return filter.taken_after is None and filter.taken_before is None
    return sort.endswith("score") and not filter.named


def from_row(row: Row) -> TaggedRow:
    """A row of COLUMNS."""
    return TaggedRow(
        row["id"], row["image_path"], row["tags"], row["exif_datetime"], row["created_at"], row["updated_at"]
    )
