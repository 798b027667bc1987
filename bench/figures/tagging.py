"""Tagging small pictures end to end, sent over HTTP and lying in a directory, beside the bare model; and what memory
the job of a directory takes.
"""

import json
import os
import time
from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path

import psutil

from bench import load
from bench.bare.beside import beside
from bench.bare.big_model import ALIAS, write_model
from bench.bare.model import write_folders
from bench.figure import Figure
from bench.lab import CORES, Lab
from bench.load import request
from bench.pictures import catalogue_pictures, inline
from bench.rows import Completions, Rows
from bench.samples import Samples, rounds
from local.settings import REPOSITORY

CONNECTIONS = 4
STARTER = "starter-clip"
MB = 2**20
FEW, MANY = 1_000, 10_000
DIFFERENT = 1_000
"""Pictures behind the names of a large directory."""


def starter(lab: Lab) -> list[Figure]:
    """With the shipped model, which is so small that receiving a picture costs as much as looking at it."""
    models = REPOSITORY / "models.toml"
    return [
        *_requests(lab, STARTER, models, items=50, turns=lab.rounds),
        *_directory(lab, STARTER, models, pictures=lab.pick(2_000, 500), turns=lab.rounds),
    ]


def usual(lab: Lab) -> list[Figure]:
    """With a model of the usual size."""
    models, turns = write_model(lab.stack.folder / ALIAS), lab.pick(3, 1)
    return [
        *_requests(lab, ALIAS, models, items=10, turns=turns),
        *_directory(lab, ALIAS, models, pictures=lab.pick(400, 100), turns=turns),
    ]


def memory(lab: Lab) -> list[Figure]:
    """The peak of a worker process that tags a directory, from its start on: of many files, beside few."""
    files = lab.pick(MANY, 3 * FEW)
    many, few = Samples(f"{files:,} files", "MiB"), Samples(f"{FEW:,} files", "MiB")
    root = lab.stack.folder / "photos"
    _write_links(root / "few", FEW)
    _write_links(root / "many", files)
    turns = lab.pick(2, 1)
    with lab.track("memory of directory tagging", 2 * turns) as step:
        for _ in range(turns):
            for samples, name in ((many, "many"), (few, "few")):
                samples.add(_peak(lab, root, name) / MB)
                step()
    note = "the process's own peak resident set (VmHWM), its libraries and the starter model included"
    ratio = many.over(few, "ratio")
    return [
        Figure("directory tagging, peak memory", many, [few], higher_is_better=False, note=note),
        Figure(f"  {files:,} files over {FEW:,}", ratio, bar=1.1, aim=1.03, higher_is_better=False),
    ]


def _requests(lab: Lab, alias: str, models_file: Path, *, items: int, turns: int) -> list[Figure]:
    """Pictures sent inline, one worker process a core."""
    ours, bare = Samples("tagged end to end", "pictures/s"), Samples("bare model", "pictures/s")
    pictures = lab.pick(1_000, 300)
    numbers = count(1)
    folders = write_folders(catalogue_pictures(pictures), lab.stack.folder / f"{alias}-dealt", CORES)
    with (
        beside(lab.stack, alias, models_file, folders, "tag") as sides,
        lab.track(f"tagging, {alias}", 2 * (turns + 1)) as step,
    ):

        def tag() -> None:
            entries = [inline(data) for data in catalogue_pictures(pictures, mark=next(numbers))]
            requests = [_tag({"images": entries[at : at + items]}) for at in range(0, pictures, items)]
            started = time.perf_counter()
            load.run(sides.port, requests, connections=CONNECTIONS, expect=[202])
            sides.completions.wait_for(len(requests))
            ours.add(pictures / (time.perf_counter() - started))

        def run_bare() -> None:
            bare.add(pictures / sides.model.run())

        rounds(turns, [ours, bare], tag, run_bare, step=step)
    note = f"{pictures:,} pictures of 160 x 160 pixels sent inline, {items} a job, 14 labels"
    return [
        Figure(f"tagging, {alias}", ours, [bare], note=note),
        Figure("  over the bare model, one process a core", ours.over(bare, "ratio"), bar=0.8, aim=0.95),
    ]


def _directory(lab: Lab, alias: str, models_file: Path, *, pictures: int, turns: int) -> list[Figure]:
    """Files of a directory: one job, and so one process on either side."""
    ours, bare = Samples("tagged in a directory", "files/s"), Samples("bare model", "pictures/s")
    numbers = count(1)
    root = lab.stack.folder / f"{alias}-photos"
    folders = write_folders(catalogue_pictures(pictures), root, 1)
    with (
        beside(lab.stack, alias, models_file, folders, "clip_batch", _with_root(root)) as sides,
        lab.track(f"tagging a directory, {alias}", 2 * (turns + 1)) as step,
    ):

        def tag() -> None:
            other = {
                "directory": "photos",
                "min_score": next(numbers) / 1e6,
            }  # tagged in another way: nothing is skipped
            started = time.perf_counter()
            load.run(sides.port, [_tag(other)], connections=1, expect=[202])
            sides.completions.wait_for(1)
            ours.add(pictures / (time.perf_counter() - started))

        def run_bare() -> None:
            bare.add(pictures / sides.model.run())

        rounds(turns, [ours, bare], tag, run_bare, step=step)
    note = f"{pictures:,} files, 14 labels; one process on each side, whose torch has one thread"
    return [
        Figure(f"tagging a directory, {alias}", ours, [bare], note=note),
        Figure("  over the bare model, one process", ours.over(bare, "ratio"), bar=0.8, aim=0.95),
    ]


def _peak(lab: Lab, root: Path, name: str) -> int:
    """Bytes at the peak of a fresh worker process that has tagged the directory."""
    database = lab.stack.fresh_database()
    environment = {**lab.stack.environment(database), **_with_root(root)}
    completions, rows = Completions(lab.stack.redis_url(0)), Rows(database)
    try:
        with (
            lab.stack.api(environment) as (_, port),
            lab.stack.worker(environment, ["clip_batch"], 1) as worker,
        ):
            load.run(port, [_tag({"directory": f"photos/{name}"})], connections=1, expect=[202])
            completions.wait_for(1)
            rows.check_all_succeeded()
            return max(_high_water(child) for child in worker.children())
    finally:
        completions.close()
        rows.close()


def _high_water(process: psutil.Process) -> int:
    """Bytes; from Linux's `/proc`, for no library tells another process's peak."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


def _write_links(folder: Path, files: int) -> None:
    """Many names for some pictures, in folders of a hundred."""
    pictures: Sequence[bytes] = catalogue_pictures(min(DIFFERENT, files))
    for number in range(files):
        path = _name(folder, number)
        path.parent.mkdir(parents=True, exist_ok=True)
        if number < len(pictures):
            path.write_bytes(pictures[number])
        else:
            os.link(_name(folder, number % len(pictures)), path)


def _name(folder: Path, number: int) -> Path:
    return folder / f"{number // 100:03}" / f"{number:06}.webp"


def _with_root(root: Path) -> dict[str, str]:
    return {"DARKROOM_IMAGE_ROOTS": json.dumps({"photos": str(root)})}


def _tag(input: Mapping[str, object]) -> bytes:
    return request("/v1/tag", json.dumps({"input": input}).encode())
