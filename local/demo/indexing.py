"""Indexing the catalogue: pictures into jobs, jobs to the API, and what became of them."""

import time
from collections.abc import Callable, Sequence
from typing import Any

from local.demo.catalogue import Picture
from local.demo.client import ENDED, Api, Job
from local.demo.errors import DemoFailed
from local.demo.facts import IndexRun

PATIENCE_SECONDS = 180.0
POLL_SECONDS = 0.15

Progress = Callable[[float, float], None]
"""(done, of how many)."""


def items_of(pictures: Sequence[Picture], base_url: str) -> list[dict[str, Any]]:
    """Items as the API takes them: every other picture by URL, the rest inline."""
    return [_item(picture, base_url if position % 2 == 0 else None) for position, picture in enumerate(pictures)]


def chunks(items: list[dict[str, Any]], size: int) -> list[list[dict[str, Any]]]:
    return [items[start : start + size] for start in range(0, len(items), size)]


def by_url(items: Sequence[dict[str, Any]]) -> int:
    """How many of these items name their picture by URL."""
    return sum("url" in item["image"] for item in items)


def request_for(collection: str, items: list[dict[str, Any]]) -> dict[str, Any]:
    """A request to index; it carries the collection's name as metadata, to be listed by."""
    return {"input": {"collection": collection, "items": items}, "metadata": {"run": collection}}


def index(
    api: Api, check: Callable[[], None], collection: str, parts: list[list[dict[str, Any]]], progress: Progress
) -> IndexRun:
    """Index everything, following the jobs until the last has ended.

    Args:
        check: raises when there is no sense in waiting on.
    """
    begun = time.monotonic()
    for part in parts:
        api.submit("index", request_for(collection, part))
    total = sum(map(len, parts))
    while True:
        jobs = api.jobs({"run": collection})
        progress(_items_done(jobs), total)
        if len(jobs) == len(parts) and all(job["status"] in ENDED for job in jobs):
            break
        check()
        if time.monotonic() - begun > PATIENCE_SECONDS:
            raise DemoFailed(f"Indexing did not end within {PATIENCE_SECONDS:.0f} s: {statuses(jobs)}.")
        time.sleep(POLL_SECONDS)
    seconds = time.monotonic() - begun
    return IndexRun(
        collection=collection,
        jobs=len(jobs),
        pictures=total,
        by_url=sum(by_url(part) for part in parts),
        indexed=sum((job["output"] or {}).get("indexed", 0) for job in jobs),
        failed=[text for job in jobs for text in _failures(job)],
        in_collection=api.count(collection),
        seconds=seconds,
    )


def statuses(jobs: Sequence[Job]) -> str:
    """`3 running, 14 succeeded`."""
    found = [job["status"] for job in jobs]
    return ", ".join(f"{found.count(status)} {status}" for status in sorted(set(found)))


def _items_done(jobs: Sequence[Job]) -> float:
    return sum(
        len(job["input"]["items"]) * (1.0 if job["status"] in ENDED else job["progress"]["fraction"]) for job in jobs
    )


def _failures(job: Job) -> list[str]:
    if job["status"] != "succeeded":
        return [f"job {job['id']} {job['status']}: {(job['error'] or {}).get('message')}"]
    return [f"{item['id']}: {item['message']}" for item in job["output"]["failed"]]


def _item(picture: Picture, base_url: str | None) -> dict[str, Any]:
    image = {"url": f"{base_url}/{picture.id}.webp"} if base_url else {"base64": picture.base64}
    return {"id": picture.id, "image": image, "text": picture.name, "payload": picture.payload}
