"""Builds the demo catalogue from the held-out artwork: ``python -m models.build_catalogue``.

Pictures are laid over white, so that every decoder shows them alike, and written as WebP. What two emoji share but for
a person's sex or skin, flags, signs and clock faces are left out: the catalogue is to be searched by people.
"""

import json
import re
import shutil
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from models import pictures, sources
from models.sources import Emoji

CATALOGUE = sources.MODELS / "catalogue"
SIDE = 160  # pixels; about 2 kB a picture
_QUALITY = 82
_GROUPS = frozenset(
    ["smileys-emotion", "people-body", "animals-nature", "food-drink", "travel-places", "activities", "objects"]
)
# Kinds whose members differ by a gesture or a shade of mood, too alike to search for in a demo.
_ALIKE = frozenset(
    {
        *("person", "person-gesture", "person-activity", "person-resting", "person-symbol", "family"),
        *("hand-single-finger", "face-concerned", "face-neutral-skeptical", "emotion"),
    }
)
_UNWANTED = re.compile(r"^(man|woman|men|women|old)\b|:|o'clock|-thirty|middle finger|pregnant")

# What to type first, and the words of a name or keyword that make a picture a right answer.
# Chosen among some fifty for their good results: they show the platform, and measure nothing.
QUERIES: Mapping[str, tuple[str, ...]] = {
    "cat": ("cat",),
    "boat": ("boat",),
    "a flower": ("flower",),
    "fruit": ("fruit",),
    "heart": ("heart",),
    "moon": ("moon",),
}
PICTURE_QUERIES = ("cat-face", "automobile", "green-book")


def select(emoji: Sequence[Emoji]) -> list[Emoji]:
    """The held-out emoji that go into the catalogue."""
    known = (one for one in pictures.held_out(emoji) if one.group in _GROUPS and one.subgroup not in _ALIKE)
    return [one for one in known if not _UNWANTED.search(one.name)]


def describe(emoji: Emoji) -> dict[str, Any]:
    """One line of ``catalogue.jsonl``."""
    slug = _slug(emoji.name)
    return {
        "id": slug,
        "file": f"pictures/{slug}.webp",
        "name": emoji.name,
        "category": emoji.group,
        "subcategory": emoji.subgroup,
        "keywords": list(emoji.tags),
        "unicode": emoji.code.upper(),
    }


def expected(items: Sequence[dict[str, Any]], words: Sequence[str]) -> list[str]:
    """The ids whose name or keywords hold one of the words, whole; found without any model."""
    return [item["id"] for item in items if set(words) & _words(item)]


def write_picture(source: Path, target: Path) -> None:
    """The source over white at ``SIDE`` pixels."""
    with Image.open(source) as picture:
        small = pictures.over_white(picture).resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    small.save(target, quality=_QUALITY, method=6)


def main() -> None:
    """Write pictures, ``catalogue.jsonl`` and ``queries.json``."""
    sources.fetch()
    chosen = select(sources.load_emoji())
    items = [describe(emoji) for emoji in chosen]
    shutil.rmtree(CATALOGUE / "pictures", ignore_errors=True)
    (CATALOGUE / "pictures").mkdir(parents=True)
    paths = sources.picture_paths(sources.HELD_OUT_VENDOR)
    for emoji, item in zip(chosen, items, strict=True):
        write_picture(paths[emoji.code], CATALOGUE / item["file"])
    lines = [json.dumps(item, ensure_ascii=False) for item in items]
    (CATALOGUE / "catalogue.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    queries = {
        "text": list(QUERIES),
        "image_ids": list(PICTURE_QUERIES),
        "expected": {"text": {query: expected(items, words) for query, words in QUERIES.items()}},
    }
    (CATALOGUE / "queries.json").write_text(json.dumps(queries, indent=2) + "\n", encoding="utf-8")
    size = sum(path.stat().st_size for path in CATALOGUE.rglob("*.webp"))
    print(f"{len(items)} pictures, {size / 1e6:.1f} MB")


def _words(item: dict[str, Any]) -> set[str]:
    return set(re.findall(r"[\w']+", " ".join([item["name"], *item["keywords"]])))


def _slug(name: str) -> str:
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "-", plain.lower().replace("'", "")).strip("-")


if __name__ == "__main__":
    main()
