"""Which tagged pictures a question is about: one set of conditions for lists, statistics and exports."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson


@dataclass(frozen=True, slots=True)
class TagFilter:
    """What pictures are narrowed to; everything given must hold. Tags are compared as they are written."""

    tenant: str
    all: tuple[str, ...] = ()
    any: tuple[str, ...] = ()
    """At least one of them."""
    none: tuple[str, ...] = ()
    min_score: float | None = None
    """0 to 1: of each of `all` and of at least one of `any`; of any tag at all where neither is given."""
    taken_after: datetime | None = None
    """Local time without a zone, as in the table; the bound itself counts."""
    taken_before: datetime | None = None
    """Likewise, but the bound itself does not count."""
    path: str | None = None

    @property
    def named(self) -> list[str]:
        """The tags that pictures are asked to have."""
        return [*self.all, *self.any]


class Arguments:
    """The arguments of a statement in the making."""

    def __init__(self) -> None:
        self.values: list[Any] = []

    def add(self, value: Any) -> str:
        """Take a value; answers what stands for it in the statement."""
        self.values.append(value)
        return f"${len(self.values)}"


def conditions(filter: TagFilter, arguments: Arguments) -> str:
    """What holds for the rows of `tagged_images` that are meant. Of what is given only, so that the planner can choose
    the index that serves it: containment is what the GIN index on `tags` answers."""
    parts = [f"tenant = {arguments.add(filter.tenant)}"]
    if filter.path is not None:
        parts.append(f"image_path = {arguments.add(filter.path)}")
    if filter.taken_after is not None:
        parts.append(f"exif_datetime >= {arguments.add(filter.taken_after)}")
    if filter.taken_before is not None:
        parts.append(f"exif_datetime < {arguments.add(filter.taken_before)}")
    if filter.all:
        parts.append(_has(arguments, *filter.all))
    if filter.any:
        parts.append(f"({' OR '.join(_has(arguments, tag) for tag in filter.any)})")
    parts.extend(f"NOT {_has(arguments, tag)}" for tag in filter.none)
    if filter.min_score is not None:
        parts.extend(_reaches(filter, arguments.add(filter.min_score), arguments))
    return " AND ".join(parts)


def best_score(filter: TagFilter, arguments: Arguments) -> str:
    """A query for a row's score as `key`: that of the best of the named tags; of its best tag where none is named."""
    if not filter.named:
        return "SELECT (tags->0->>'score')::float8 AS key"  # stored best first; ix_tagged_images_score says the same
    return f"""
      SELECT max(score) AS key FROM jsonb_to_recordset(tags) AS entry(tag text, score float8)
      WHERE tag = ANY({arguments.add(filter.named)}::text[])
    """


def _has(arguments: Arguments, *tags: str) -> str:
    return f"tags @> {arguments.add(orjson.dumps([{'tag': tag} for tag in tags]).decode())}::jsonb"


def _reaches(filter: TagFilter, bound: str, arguments: Arguments) -> list[str]:
    good = f"FROM jsonb_to_recordset(tags) AS entry(tag text, score float8) WHERE score >= {bound}::float8"
    if not filter.named:
        return [f"EXISTS (SELECT {good})"]
    parts = []
    if wanted := sorted(set(filter.all)):
        counted = f"SELECT count(DISTINCT tag) {good} AND tag = ANY({arguments.add(wanted)}::text[])"
        parts.append(f"({counted}) = {len(wanted):d}")
    if filter.any:
        parts.append(f"EXISTS (SELECT {good} AND tag = ANY({arguments.add(list(filter.any))}::text[]))")
    return parts
