"""Indexing small pictures end to end through the HTTP API, beside the bare model in one process a core."""

import json
import time
from contextlib import ExitStack
from itertools import count
from pathlib import Path

from bench import load
from bench.bare.big_model import ALIAS, write_model
from bench.bare.model import BareModel, write_folders
from bench.figure import Figure
from bench.lab import CORES, Lab
from bench.load import request
from bench.pictures import catalogue_pictures, inline
from bench.rows import Completions, Rows
from bench.samples import Samples, rounds
from local.settings import REPOSITORY

CONNECTIONS = 4


def starter(lab: Lab) -> list[Figure]:
    """With the shipped model, which is so small that receiving a picture costs as much as embedding it."""
    return _measure(lab, "starter-clip", REPOSITORY / "models.toml", items=50, turns=lab.rounds)


def usual(lab: Lab) -> list[Figure]:
    """With a model of the usual size, in jobs so small that no process claims seconds of work at the very end."""
    return _measure(lab, ALIAS, write_model(lab.stack.folder / ALIAS), items=10, turns=lab.pick(3, 1))


def _measure(lab: Lab, alias: str, models_file: Path, *, items: int, turns: int) -> list[Figure]:
    ours, bare = Samples("indexed end to end", "pictures/s"), Samples("bare model", "pictures/s")
    pictures = lab.pick(1_000, 300)
    numbers = count(1)
    with ExitStack() as open_now, lab.track(f"indexing, {alias}", 2 * (turns + 1)) as step:
        stack = lab.stack
        folders = write_folders(catalogue_pictures(pictures), stack.folder / "pictures", CORES)
        database = stack.fresh_database()
        environment = {**stack.environment(database), "DARKROOM_MODELS_FILE": str(models_file)}
        model = open_now.enter_context(BareModel.running(alias, models_file, folders))
        _, port = open_now.enter_context(stack.api(environment))
        open_now.enter_context(stack.worker(environment, ["index"], CORES))
        rows, completions = Rows(database), Completions(stack.redis_url(0))
        open_now.callback(rows.close)
        open_now.callback(completions.close)

        def index() -> None:
            requests = _requests(pictures, items, next(numbers))
            started = time.perf_counter()
            load.run(port, requests, connections=CONNECTIONS, expect=[202])
            completions.wait_for(len(requests))
            ours.add(pictures / (time.perf_counter() - started))

        def run_bare() -> None:
            bare.add(pictures / model.run())

        rounds(turns, [ours, bare], index, run_bare, step=step)
        rows.check_all_succeeded()
    note = f"{pictures:,} pictures of 160 x 160 pixels sent inline, {items} a job"
    ratio = ours.over(bare, "ratio")
    return [
        Figure(f"indexing, {alias}", ours, [bare], note=note),
        Figure("  over the bare model, one process a core", ratio, bar=0.8, aim=0.95),
    ]


def _requests(pictures: int, items: int, number: int) -> list[bytes]:
    """Each time other bytes and another collection: nothing is known already."""
    entries = [
        {"id": f"item-{index}", "image": inline(data), "payload": {"number": index}}
        for index, data in enumerate(catalogue_pictures(pictures, mark=number))
    ]
    return [
        request(
            "/v1/index",
            json.dumps({"input": {"collection": f"bench-{number}", "items": entries[start : start + items]}}).encode(),
        )
        for start in range(0, pictures, items)
    ]
