"""The demo's searches: by words, and by picture."""

import time
from typing import Any

from local.demo.catalogue import Picture
from local.demo.client import WAIT_SECONDS, Api
from local.demo.errors import DemoFailed
from local.demo.facts import Result, Search

SHOWN = 8
"""Hits asked for, printed and put into the report."""


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

    def _run(self, query: dict[str, Any]) -> tuple[dict[str, Any], float]:
        begun = time.perf_counter()
        input = {"collection": self._collection, "top_k": SHOWN, **query}
        job = self._api.submit("search", {"input": input}, wait=WAIT_SECONDS)
        seconds = time.perf_counter() - begun
        if job["status"] != "succeeded":
            raise DemoFailed(f"The search {job['id']} is {job['status']} after {seconds:.0f} s: {job['error']}")
        return job, seconds


def _results(job: dict[str, Any], expected: frozenset[str]) -> list[Result]:
    return [
        Result(hit["id"], hit["payload"].get("name", hit["id"]), hit["score"], hit["id"] in expected)
        for hit in job["output"]["results"]
    ]
