"""A directory of pictures, tagged by one job; then what the table of tags says of it."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from local.demo.catalogue import Picture
from local.demo.client import ENDED, Api, Job
from local.demo.errors import DemoFailed
from local.demo.facts import Tag, TaggedPicture, TagRun, TagStatistic
from local.demo.indexing import PATIENCE_SECONDS, POLL_SECONDS, Progress

LABELS = (
    "bird", "boat", "book", "building", "car", "cat", "clock", "face", "flower", "fruit", "hand", "heart", "moon",
    "person", "train",
)  # fmt: skip
TOP_K = 3
SAMPLES = 16
PAGE = 500


def tag_directory(
    api: Api,
    check: Callable[[], None],
    directory: str,
    ids: Mapping[str, str],
    pictures: Sequence[Picture],
    bar: Progress,
) -> TagRun:
    """Tag `directory`, tag it again, and read the tags back.

    Args:
        check: raises when there is no sense in waiting on.
        ids: of the catalogue, by path within the directory.
    """
    first, seconds = _run(api, check, directory, bar)
    again, again_seconds = _run(api, check, directory, lambda *_: None)
    rows = {row["image_path"].removeprefix(f"{directory}/"): row["tags"] for row in _rows(api)}
    tagged = [TaggedPicture(ids[path], [Tag(tag["tag"], tag["score"]) for tag in rows[path]]) for path in sorted(rows)]
    statistics = api.get("/v1/tags/statistics")
    judged = _judged(tagged, {picture.id: picture for picture in pictures})
    return TagRun(
        directory=directory,
        labels=list(LABELS),
        files=first["files"],
        tagged=first["tagged"],
        failed=[f"{file['source']}: {file['error']['message']}" for file in first["images"]],
        seconds=seconds,
        again_unchanged=again["unchanged"],
        again_seconds=again_seconds,
        total=statistics["total"],
        statistics=[TagStatistic(tag["tag"], tag["count"], tag["mean_score"]) for tag in statistics["tags"]],
        months={month["month"]: month["count"] for month in statistics["months"]},
        counts=_by_best_tag(tagged),
        samples=_samples(tagged),
        judged=len(judged),
        right=sum(judged),
    )


def _run(api: Api, check: Callable[[], None], directory: str, bar: Progress) -> tuple[dict[str, Any], float]:
    begun = time.monotonic()
    input = {"directory": directory, "labels": list(LABELS), "template": ["{}", "a picture of a {}"], "top_k": TOP_K}
    job = follow(api, check, api.submit("tag", {"input": input}), bar)
    return job["output"], time.monotonic() - begun


def follow(api: Api, check: Callable[[], None], job: Job, bar: Progress) -> Job:
    """The job as it ended. Raises DemoFailed unless it succeeded, in time."""
    begun = time.monotonic()
    while job["status"] not in ENDED:
        check()
        if time.monotonic() - begun > PATIENCE_SECONDS:
            raise DemoFailed(f"The {job['kind']} job {job['id']} did not end within {PATIENCE_SECONDS:.0f} s.")
        time.sleep(POLL_SECONDS)
        job = api.get(f"/v1/jobs/{job['id']}")
        bar(job["progress"]["fraction"], 1.0)
    if job["status"] != "succeeded":
        raise DemoFailed(f"The {job['kind']} job {job['id']} is {job['status']}: {job['error']}")
    return job


def _rows(api: Api) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    params = {"limit": str(PAGE)}
    while True:
        page = api.get("/v1/tags", params)
        rows += page["data"]
        if not page["next_cursor"]:
            return rows
        params["cursor"] = page["next_cursor"]


def _by_best_tag(tagged: Sequence[TaggedPicture]) -> dict[str, int]:
    best = [picture.tags[0].tag for picture in tagged if picture.tags]
    return dict(sorted(((tag, best.count(tag)) for tag in set(best)), key=lambda entry: (-entry[1], entry[0])))


def _samples(tagged: Sequence[TaggedPicture]) -> list[TaggedPicture]:
    """The surest pictures of each tag in turn: they show best what the model means by it."""
    by_tag: dict[str, list[TaggedPicture]] = {}
    for picture in sorted(tagged, key=lambda each: -each.tags[0].score if each.tags else 0.0):
        if picture.tags:
            by_tag.setdefault(picture.tags[0].tag, []).append(picture)
    turns = [picture for turn in range(SAMPLES) for group in by_tag.values() for picture in group[turn : turn + 1]]
    return turns[:SAMPLES]


def _judged(tagged: Sequence[TaggedPicture], pictures: Mapping[str, Picture]) -> list[bool]:
    """Whether the best tag is right, for each picture whose keywords name exactly one of the labels."""
    judged = []
    for picture in tagged:
        known = {*pictures[picture.id].keywords, *pictures[picture.id].name.split()} & set(LABELS)
        if len(known) == 1 and picture.tags:
            judged.append(picture.tags[0].tag in known)
    return judged
