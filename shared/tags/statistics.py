"""What a tenant's pictures show, counted."""

from dataclasses import dataclass
from typing import Any

import orjson

from shared.database.asynchronous import Connection
from shared.tags.filtering import Arguments, TagFilter, conditions


@dataclass(frozen=True, slots=True)
class TagStatistics:
    """Counts of pictures. `tags`: `{"tag", "count", "mean_score"}`, most frequent first, equal ones by name; `months`:
    `{"month": "2024-05", "count"}` in their order; `undated`: pictures that do not say when they were taken."""

    total: int
    tags: list[dict[str, Any]]
    months: list[dict[str, Any]]
    undated: int


async def count(
    connection: Connection, filter: TagFilter, *, limit: int, months_of: str | None = None
) -> TagStatistics:
    """Of the pictures that the filter lets through, in one snapshot.

    `limit`: tags at most. `months_of`: months and undated ones of pictures with this tag only.
    """
    statement, arguments = statistics_statement(filter, limit=limit, months_of=months_of)
    row = await connection.fetchrow(statement, *arguments)
    assert row is not None
    months = orjson.loads(row["months"])
    undated = sum(month["count"] for month in months if month["month"] is None)
    dated = [month for month in months if month["month"] is not None]
    return TagStatistics(row["total"], orjson.loads(row["tags"]), dated, undated)


def statistics_statement(filter: TagFilter, *, limit: int, months_of: str | None) -> tuple[str, list[Any]]:
    """One pass over the pictures for the three of them."""
    arguments = Arguments()
    where = conditions(filter, arguments)
    tagged = "true"
    if months_of is not None:
        tagged = f"tags @> {arguments.add(orjson.dumps([{'tag': months_of}]).decode())}::jsonb"
    statement = f"""
      WITH found AS MATERIALIZED (SELECT tags, exif_datetime FROM tagged_images WHERE {where}),
      by_tag AS (
        SELECT tag, count(*) AS count, avg(score) AS mean_score
        FROM found CROSS JOIN LATERAL jsonb_to_recordset(tags) AS entry(tag text, score float8)
        GROUP BY tag ORDER BY count DESC, tag COLLATE "C" LIMIT {limit:d}
      ),
      by_month AS (
        SELECT to_char(month, 'YYYY-MM') AS month, count FROM (
          SELECT date_trunc('month', exif_datetime) AS month, count(*) AS count FROM found WHERE {tagged} GROUP BY 1
        ) counted
      )
      SELECT
        (SELECT count(*) FROM found) AS total,
        (SELECT COALESCE(jsonb_agg(by_tag ORDER BY count DESC, tag COLLATE "C"), '[]') FROM by_tag) AS tags,
        (SELECT COALESCE(jsonb_agg(by_month ORDER BY month COLLATE "C"), '[]') FROM by_month) AS months
    """
    return statement, arguments.values
