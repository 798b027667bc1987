"""Indexing small pictures end to end through the HTTP API, beside the bare model in one process a core."""

import json
import time
from itertools import count
from pathlib import Path

from bench import load
from bench.bare.beside import beside
from bench.bare.big_model import ALIAS, write_model
from bench.bare.model import write_folders
from bench.figure import Figure
from bench.lab import CORES, Lab
from bench.load import request
from bench.pictures import catalogue_pictures, inline
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
    folders = write_folders(catalogue_pictures(pictures), lab.stack.folder / "pictures", CORES)
    with (
        beside(lab.stack, alias, models_file, folders, "index") as sides,
        lab.track(f"indexing, {alias}", 2 * (turns + 1)) as step,
    ):

        def index() -> None:
            requests = _requests(pictures, items, next(numbers))
            started = time.perf_counter()
            load.run(sides.port, requests, connections=CONNECTIONS, expect=[202])
            sides.completions.wait_for(len(requests))
            ours.add(pictures / (time.perf_counter() - started))

        def run_bare() -> None:
            bare.add(pictures / sides.model.run())

        rounds(turns, [ours, bare], index, run_bare, step=step)
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
