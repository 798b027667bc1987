"""The shipped pictures, and the questions asked of them."""

import base64
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local.settings import REPOSITORY

FOLDER = REPOSITORY / "models" / "catalogue"


@dataclass(frozen=True)
class Picture:
    """One entry of the catalogue."""

    id: str
    name: str
    category: str
    subcategory: str
    keywords: tuple[str, ...]
    path: Path

    @property
    def base64(self) -> str:
        return base64.b64encode(self.path.read_bytes()).decode()

    @property
    def payload(self) -> dict[str, Any]:
        """What an application would want back with a hit, or filter by."""
        return {"name": self.name, "category": self.category, "subcategory": self.subcategory}


@dataclass(frozen=True)
class Queries:
    """What to search for, and the ids whose names or keywords answer it (found by words, without any model)."""

    texts: dict[str, frozenset[str]]
    pictures: list[str]


def load_pictures(folder: Path = FOLDER) -> list[Picture]:
    """The whole catalogue, in its own order."""
    lines = (folder / "catalogue.jsonl").read_text(encoding="utf-8").splitlines()
    return [_picture(json.loads(line), folder) for line in lines]


def load_queries(folder: Path = FOLDER) -> Queries:
    """Every text with what is expected of it, and the items whose own pictures are searched for."""
    data = json.loads((folder / "queries.json").read_text(encoding="utf-8"))
    expected = data["expected"]["text"]
    return Queries({text: frozenset(expected[text]) for text in data["text"]}, data["image_ids"])


def _picture(row: dict[str, Any], folder: Path) -> Picture:
    return Picture(
        id=row["id"],
        name=row["name"],
        category=row["category"],
        subcategory=row["subcategory"],
        keywords=tuple(row["keywords"]),
        path=folder / row["file"],
    )
