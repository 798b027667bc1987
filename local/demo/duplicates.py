"""A directory with copies in it, and which of them one job finds."""

import time
from collections.abc import Callable, Sequence

from local.demo.client import Api
from local.demo.facts import DuplicateGroup, DuplicateRun
from local.demo.indexing import Progress
from local.demo.library import Copy
from local.demo.tagging import follow

METHODS = ["exact", "perceptual"]


def find_duplicates(
    api: Api, check: Callable[[], None], directory: str, copies: Sequence[Copy], bar: Progress
) -> DuplicateRun:
    """Look for copies in `directory`, and compare with those that were put there."""
    begun = time.monotonic()
    job = api.submit("deduplicate", {"input": {"directory": directory, "method": METHODS}})
    output = follow(api, check, job, bar)["output"]
    seconds = time.monotonic() - begun
    groups = [
        DuplicateGroup(
            group["kind"], _name(group["keeper"]), sorted(_name(member["id"]) for member in group["members"])
        )
        for group in output["groups"]
    ]
    together = {(group.kind, name): set(group.members) for group in groups for name in group.members}
    return DuplicateRun(
        directory=directory,
        pictures=output["pictures"],
        planted={kind: sum(copy.kind == kind for copy in copies) for kind in METHODS},
        found={
            kind: sum(copy.kind == kind and copy.original in together.get((kind, copy.name), ()) for copy in copies)
            for kind in METHODS
        },
        mixed=[
            copy.name
            for copy in copies
            for kind in METHODS
            if kind != copy.kind and copy.original in together.get((kind, copy.name), ())
        ],
        groups=groups,
        seconds=seconds,
    )


def _name(id: str) -> str:
    return id.rpartition("/")[2]
