"""Tagged pictures for tests: random rows, and what Python says that the API should answer about them."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson
import psycopg

TAGS = ("cat", "Cat", "Victory Day", 'a "b"', "x') OR ('1'='1", "é", "[0]")
SCORES = (0.0, 0.25, 0.3, 0.5, 1.0)
DATES = tuple(
    datetime.fromisoformat(text) for text in ("2024-05-01", "2024-05-31T23:59:59", "2024-06-01", "1999-12-31")
)


@dataclass
class Picture:
    """A row of `tagged_images`."""

    path: str
    found: dict[str, float] = field(default_factory=dict)
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    taken: datetime | None = None
    tenant: str = "default"
    id: int = 0

    @property
    def scores(self) -> dict[str, float]:
        """Every tag that it shows, in the order in which it shows them."""
        by_hand = dict.fromkeys(sorted(self.added), 1.0)
        kept = [tag for tag in self.found if tag not in self.added and tag not in self.removed]
        return by_hand | {tag: self.found[tag] for tag in sorted(kept, key=lambda tag: (-self.found[tag], tag))}

    @property
    def tags(self) -> list[dict[str, Any]]:
        """As the API shows them."""
        return [
            {"tag": tag, "score": score} | ({"by": "hand"} if tag in self.added else {})
            for tag, score in self.scores.items()
        ]


def random_pictures(count: int, seed: int) -> list[Picture]:
    """With ties of scores and dates, without some of either, every fifth of another tenant."""
    chance = random.Random(seed)
    paths = [f"photos/{n:04}.jpg" for n in range(count)]
    chance.shuffle(paths)
    return [
        Picture(
            path,
            found={tag: chance.choice(SCORES) for tag in chance.sample(TAGS, chance.randint(0, 4))},
            added=tuple(chance.sample(TAGS, chance.choice((0, 0, 0, 1, 2)))),
            removed=tuple(chance.sample(TAGS, chance.choice((0, 0, 0, 1)))),
            taken=chance.choice((None, *DATES)),
            tenant="other" if n % 5 == 0 else "default",
        )
        for n, path in enumerate(paths)
    ]


def store(url: str, pictures: Sequence[Picture]) -> None:
    """Write the rows and fill in their ids."""
    with psycopg.connect(url, autocommit=True) as connection:
        for picture in pictures:
            found = orjson.dumps([{"tag": tag, "score": score} for tag, score in picture.found.items()]).decode()
            row = connection.execute(
                "INSERT INTO tagged_images (tenant, image_path, found_tags, added_tags, removed_tags, exif_datetime) "
                "VALUES (%s, %s, %s, %s, %s, %s) RETURNING id",
                (picture.tenant, picture.path, found, list(picture.added), list(picture.removed), picture.taken),
            ).fetchone()
            assert row is not None
            picture.id = row[0]


def tag_again(url: str, path: str, found: dict[str, float], tenant: str = "default") -> None:
    """As a `tag` job does: what the model finds is replaced, and nothing else."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO tagged_images (tenant, image_path, found_tags) VALUES (%s, %s, %s) "
            "ON CONFLICT (tenant, image_path) DO UPDATE SET found_tags = excluded.found_tags, updated_at = now()",
            (tenant, path, orjson.dumps([{"tag": tag, "score": score} for tag, score in found.items()]).decode()),
        )


def matching(pictures: Sequence[Picture], query: dict[str, Any]) -> list[Picture]:
    """Those of the tenant `default` that a query is about, looked at one by one."""
    return [picture for picture in pictures if picture.tenant == "default" and _matches(picture, query)]


def _matches(picture: Picture, query: dict[str, Any]) -> bool:
    least = query.get("min_score", 0.0)
    good = {tag for tag, score in picture.scores.items() if score >= least}
    wanted, choice = query.get("all", []), query.get("any", [])
    taken = picture.taken
    return (
        all(tag in good for tag in wanted)
        and (not choice or any(tag in good for tag in choice))
        and not any(tag in picture.scores for tag in query.get("none", []))
        and (bool(good) or bool(wanted or choice) or "min_score" not in query)
        and ("taken_after" not in query or (taken is not None and taken >= query["taken_after"]))
        and ("taken_before" not in query or (taken is not None and taken < query["taken_before"]))
    )


def in_order(pictures: Sequence[Picture], query: dict[str, Any]) -> list[Picture]:
    """By the query's `sort`; those without a score or a date last."""
    sort = query.get("sort", "-score")
    named = [*query.get("all", []), *query.get("any", [])]
    keys: dict[str, Callable[[Picture], Any]] = {
        "score": lambda picture: max(
            (score for tag, score in picture.scores.items() if not named or tag in named), default=None
        ),
        "taken": lambda picture: picture.taken,
        "path": lambda picture: picture.path,
    }
    key, descending = keys[sort.lstrip("-")], sort.startswith("-")
    by_id = sorted(pictures, key=lambda picture: picture.id, reverse=descending)
    keyed = [picture for picture in by_id if key(picture) is not None]
    return sorted(keyed, key=key, reverse=descending) + [picture for picture in by_id if key(picture) is None]
