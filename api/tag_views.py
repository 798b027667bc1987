"""Tagged pictures as answers and exports show them. Tags go from the database to the wire without being parsed."""

import csv
import io
from collections.abc import Iterable
from datetime import datetime
from typing import Any, Literal

import orjson
from pydantic import BaseModel

from api.views import JSON_OPTIONS
from shared.tags.paging import TaggedRow

CSV_COLUMNS = ("image_path", "taken_at", "tags", "best_tag", "score")
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


class ImageTag(BaseModel):
    """A tag of a picture. `by` is there for tags given by hand only; their score is 1."""

    tag: str
    score: float
    by: Literal["hand"] | None = None


class TaggedImage(BaseModel):
    """A picture with its tags, best first. `taken_at`: the camera's own clock, without a zone."""

    id: int
    image_path: str
    tags: list[ImageTag]
    taken_at: datetime | None
    created_at: datetime
    updated_at: datetime


class TaggedImageList(BaseModel):
    data: list[TaggedImage]
    next_cursor: str | None


def tagged_view(row: TaggedRow) -> dict[str, Any]:
    """A `TaggedImage`, for `api.views.json_response`."""
    return {
        "id": row.id,
        "image_path": row.image_path,
        "tags": orjson.Fragment(row.tags),
        "taken_at": _local(row.taken_at),
        "created_at": row.created_at,
        "updated_at": row.updated_at,
    }


def json_lines(rows: Iterable[TaggedRow]) -> bytes:
    """A `TaggedImage` a line."""
    return b"".join(orjson.dumps(tagged_view(row), option=JSON_OPTIONS | orjson.OPT_APPEND_NEWLINE) for row in rows)


def csv_header() -> bytes:
    return _csv([CSV_COLUMNS])


def csv_lines(rows: Iterable[TaggedRow]) -> bytes:
    """A line a picture (RFC 4180), under `csv_header`."""
    return _csv(_cells(row) for row in rows)


def _csv(lines: Iterable[Iterable[object]]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows(lines)
    return text.getvalue().encode()


def _cells(row: TaggedRow) -> list[object]:
    tags = orjson.loads(row.tags)
    best = [_as_text(tags[0]["tag"]), tags[0]["score"]] if tags else [None, None]
    return [_as_text(row.image_path), _local(row.taken_at), row.tags, *best]


def _as_text(cell: str) -> str:
    """A quote in front of what a spreadsheet would take for a formula (OWASP, CSV injection)."""
    return f"'{cell}" if cell.startswith(_FORMULA_STARTS) else cell


def _local(moment: datetime | None) -> str | None:
    """Without a zone: `JSON_OPTIONS` would make UTC of it."""
    return None if moment is None else moment.isoformat()
