"""Pictures of the shipped catalogue, as a user would send them."""

import base64
import json
from pathlib import Path
from typing import Any

CATALOGUE = Path(__file__).parents[2] / "models" / "catalogue"


def catalogue() -> list[dict[str, Any]]:
    return [json.loads(line) for line in (CATALOGUE / "catalogue.jsonl").read_text().splitlines()]


def catalogue_items(count: int, start: int = 0) -> list[dict[str, Any]]:
    """Index items with inline pictures."""
    return [
        {
            "id": entry["id"],
            "image": {"base64": base64.b64encode((CATALOGUE / entry["file"]).read_bytes()).decode()},
            "payload": {"name": entry["name"], "category": entry["category"]},
        }
        for entry in catalogue()[start : start + count]
    ]
