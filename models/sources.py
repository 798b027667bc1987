"""Fetches the emoji artwork and names the starter models learn from, and joins them by code point.

Art is drawn by three vendors: Noto and Twemoji are for training, Fluent is held out for evaluation and for the demo
catalogue. Names and keywords are Unicode CLDR's, as ``emojibase-data`` packs them. Everything lands in a git-ignored
cache; nothing here runs when the models are used.
"""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MODELS = Path(__file__).parent
CACHE = MODELS / ".cache"
_NODE_MODULES = CACHE / "npm" / "node_modules"
PACKAGES = (
    "emoji-datasource-google@16.0.0",
    "emoji-datasource-twitter@16.0.0",
    "emojibase-data@17.0.0",
    "@lobehub/fluent-emoji-3d@1.1.0",
)
TRAINING_VENDORS = ("noto", "twemoji")
HELD_OUT_VENDOR = "fluent"
_ART = {
    "noto": ("emoji-datasource-google/img/google/64", "png"),
    "twemoji": ("emoji-datasource-twitter/img/twitter/64", "png"),
    "fluent": ("@lobehub/fluent-emoji-3d/assets", "webp"),
}


@dataclass(frozen=True)
class Emoji:
    """One emoji without its skin-tone variants.

    ``code`` is its hexadecimal code points joined by ``-``, without the presentation selector FE0F; ``tags`` are
    CLDR keywords; ``aliases`` are further short names, not in any order of merit.
    """

    code: str
    character: str
    name: str
    tags: tuple[str, ...]
    aliases: tuple[str, ...]
    group: str
    subgroup: str
    order: int


def fetch() -> None:
    """Install the pinned npm packages into the cache (about 230 MB); does nothing when they are there."""
    if all((_NODE_MODULES / package.rpartition("@")[0] / "package.json").exists() for package in PACKAGES):
        return
    folder = CACHE / "npm"
    folder.mkdir(parents=True, exist_ok=True)
    options = ["--ignore-scripts", "--no-audit", "--no-fund", "--save-exact", "--prefix", str(folder)]
    subprocess.run(["npm", "install", *options, *PACKAGES], check=True)


def load_emoji() -> list[Emoji]:
    """Every emoji of the Unicode list that has a group, in Unicode's own order."""
    base = _NODE_MODULES / "emojibase-data"
    groups = _read(base / "meta/groups.json")
    aliases = _aliases(base / "en/shortcodes")
    records = [record for record in _read(base / "en/data.json") if "group" in record]
    emoji = [_emoji(record, groups, aliases) for record in records]
    return sorted(emoji, key=lambda one: one.order)


def picture_paths(vendor: str) -> dict[str, Path]:
    """Where a vendor's pictures lie, by emoji code (skin-tone variants included)."""
    folder, suffix = _ART[vendor]
    return {_code(path.stem): path for path in (_NODE_MODULES / folder).glob(f"*.{suffix}")}


def _emoji(record: dict[str, Any], groups: dict[str, Any], aliases: dict[str, set[str]]) -> Emoji:
    code = _code(record["hexcode"])
    return Emoji(
        code=code,
        character=record["emoji"],
        name=_plain(record["label"]),
        tags=tuple(_plain(tag) for tag in record.get("tags", ())),
        aliases=tuple(sorted(aliases.get(code, set()) - {_plain(record["label"])})),
        group=groups["groups"][str(record["group"])],
        subgroup=groups["subgroups"][str(record["subgroup"])],
        order=record["order"],
    )


def _aliases(folder: Path) -> dict[str, set[str]]:
    """Short names of one letter or with no vowel (``mwgb``) say nothing and are left out."""
    found: dict[str, set[str]] = {}
    for preset in ("emojibase", "github", "cldr"):
        for hexcode, names in _read(folder / f"{preset}.json").items():
            for name in [names] if isinstance(names, str) else names:
                words = name.replace("_", " ").replace("-", " ").strip()
                if len(words) > 2 and any(vowel in words for vowel in "aeiouy"):
                    found.setdefault(_code(hexcode), set()).add(words)
    return found


def _plain(text: str) -> str:
    """Lower case, with the apostrophe that people type."""
    return text.lower().replace("\u2019", "'")


def _code(hexcode: str) -> str:
    return hexcode.lower().replace("-fe0f", "")


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
