"""Indexing small pictures end to end through the HTTP API, beside the bare model in one process a core."""

import json
import time
from contextlib import ExitStack
from itertools import count

from bench import load
from bench.bare.model import BareModel, write_folders
from bench.figure import Figure
from bench.lab import CORES, Lab
from bench.load import request
from bench.pictures import catalogue_pictures, inline
from bench.rows import Completions, Rows
from bench.samples import Samples, rounds
from local.settings import REPOSITORY

MODEL = "starter-clip"
ITEMS = 50
"""Items a job: not so many that it counts as bulk work, which one process would do alone."""
CONNECTIONS = 4


def measure(lab: Lab) -> list[Figure]:
    ours, bare = Samples("indexed end to end", "pictures/s"), Samples("bare model", "pictures/s")
    pictures = lab.pick(1_000, 300)
    numbers = count(1)
    with ExitStack() as open_now, lab.track("indexing", 2 * (lab.rounds + 1)) as step:
        stack = lab.stack
        folders = write_folders(catalogue_pictures(pictures), stack.folder / "pictures", CORES)
        database = stack.fresh_database()
        environment = stack.environment(database)
        model = open_now.enter_context(BareModel.running(MODEL, REPOSITORY / "models.toml", folders))
        _, port = open_now.enter_context(stack.api(environment))
        open_now.enter_context(stack.worker(environment, ["index"], CORES))
        rows, completions = Rows(database), Completions(stack.redis_url(0))
        open_now.callback(rows.close)
        open_now.callback(completions.close)

        def index() -> None:
            requests = _requests(pictures, next(numbers))
            started = time.perf_counter()
            load.run(port, requests, connections=CONNECTIONS, expect=[202])
            completions.wait_for(len(requests))
            ours.add(pictures / (time.perf_counter() - started))

        def run_bare() -> None:
            bare.add(pictures / model.run())

        rounds(lab.rounds, [ours, bare], index, run_bare, step=step)
        rows.check_all_succeeded()
    note = f"{pictures:,} pictures of 64 to 72 pixels, {ITEMS} a job, sent inline; {MODEL}"
    return [
        Figure("indexing end to end", ours, [bare], note=note),
        Figure("  over the bare model, one process a core", ours.over(bare, "ratio"), bar=0.8, aim=0.95),
    ]


def _requests(pictures: int, number: int) -> list[bytes]:
    """Each time other bytes and another collection: nothing is known already."""
    items = [
        {"id": f"item-{index}", "image": inline(data), "payload": {"number": index}}
        for index, data in enumerate(catalogue_pictures(pictures, mark=number))
    ]
    return [
        request(
            "/v1/index",
            json.dumps({"input": {"collection": f"bench-{number}", "items": items[start : start + ITEMS]}}).encode(),
        )
        for start in range(0, len(items), ITEMS)
    ]
