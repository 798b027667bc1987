"""The demo's searches: by words, and by picture."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from local.demo.catalogue import Picture
from local.demo.client import WAIT_SECONDS, Api
from local.demo.errors import DemoFailed
from local.demo.facts import FilteredSearch, Result, Search, WeightedSearch

SHOWN = 8
"""Hits asked for, printed and put into the report."""
EVERYTHING = 1_000
"""Hits of a search to compare others with: the most that one may ask for."""
_RED_HUES = 16
"""Of 256: hues that close to red on either side."""


class Searcher:
    """Searches one collection."""

    def __init__(self, api: Api, collection: str) -> None:
        self._api = api
        self._collection = collection

    def by_text(self, text: str, expected: frozenset[str]) -> Search:
        job, seconds = self._run({"text": text})
        return Search("text", text, _results(job, expected), seconds, job["metrics"]["run_seconds"])

    def by_picture(self, picture: Picture) -> Search:
        """Send an item's own picture: nothing can be more like it than itself."""
        job, seconds = self._run({"image": {"base64": picture.base64}})
        results = _results(job, frozenset({picture.id}))
        return Search("picture", picture.id, results, seconds, job["metrics"]["run_seconds"])

    def weighted(self, wanted: str, unwanted: str, weight: float, redness: Callable[[str], float]) -> WeightedSearch:
        """One thing and not another, beside the one thing alone.

        Args:
            redness: of the item with this id, 0 to 1.
        """
        plain, _ = self._run({"text": wanted})
        parts = [{"text": wanted, "weight": 1.0}, {"text": unwanted, "weight": weight}]
        job, seconds = self._run({"query": parts})
        before, after = _results(plain, frozenset()), _results(job, frozenset())
        red_before, red_after = (sum(redness(hit.id) for hit in hits) / max(1, len(hits)) for hits in (before, after))
        return WeightedSearch(wanted, unwanted, weight, before, after, red_before, red_after, seconds)

    def filtered(self, text: str, filter: dict[str, str]) -> FilteredSearch:
        """Within a filter; the order is compared with that of the same search of everything."""
        job, seconds = self._run({"text": text, "filter": filter})
        everything, _ = self._run({"text": text, "top_k": EVERYTHING})
        passing = [hit["id"] for hit in everything["output"]["results"] if filter.items() <= hit["payload"].items()]
        found = job["output"]["results"]
        return FilteredSearch(
            text=text,
            filter=filter,
            results=_results(job, frozenset()),
            outside=[hit["id"] for hit in found if not filter.items() <= hit["payload"].items()],
            same_order=[hit["id"] for hit in found] == passing[:SHOWN],
            seconds=seconds,
        )

    def _run(self, query: dict[str, Any]) -> tuple[dict[str, Any], float]:
        begun = time.perf_counter()
        input = {"collection": self._collection, "top_k": SHOWN, **query}
        job = self._api.submit("search", {"input": input}, wait=WAIT_SECONDS)
        seconds = time.perf_counter() - begun
        if job["status"] != "succeeded":
            raise DemoFailed(f"The search {job['id']} is {job['status']} after {seconds:.0f} s: {job['error']}")
        return job, seconds


def redness(path: Path) -> float:
    """The share of red among the painted pixels of a picture: those that are neither see-through nor pale."""
    with Image.open(path) as image:
        painted = image.convert("RGBA")
    hue, saturation, _ = painted.convert("RGB").convert("HSV").split()
    bands = (band.tobytes() for band in (hue, saturation, painted.getchannel("A")))
    hues = [hue for hue, saturation, alpha in zip(*bands, strict=True) if alpha > 128 and saturation > 96]
    return sum(hue < _RED_HUES or hue > 255 - _RED_HUES for hue in hues) / len(hues) if hues else 0.0


def _results(job: dict[str, Any], expected: frozenset[str]) -> list[Result]:
    return [
        Result(hit["id"], hit["payload"].get("name", hit["id"]), hit["score"], hit["id"] in expected)
        for hit in job["output"]["results"]
    ]
