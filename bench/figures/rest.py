"""Processes at rest: how fast the API starts, and how much memory the API and a CLIP worker hold."""

import json
import time

from bench import load
from bench.bare.model import BareModel, write_folders
from bench.figure import Figure
from bench.lab import Lab
from bench.load import request
from bench.pictures import catalogue_pictures, inline
from bench.samples import Samples, rounds
from local import probes
from local.settings import REPOSITORY
from local.sockets import free_port

MB = 2**20
"""What `ps` and `top` count in."""
REST_SECONDS = 1.0
PICTURES = 32
MODEL = "starter-clip"


def api(lab: Lab) -> list[Figure]:
    """Start to the first answer, and memory some moments after it."""
    start, bare_start = Samples("start", "s"), Samples("bare FastAPI app, start", "s")
    memory, bare_memory = Samples("memory", "MiB"), Samples("bare FastAPI app, memory", "MiB")
    environment = lab.stack.environment(lab.stack.fresh_database())
    with lab.track("API at rest", 2 * (lab.rounds + 1)) as step:

        def ours() -> None:
            with lab.stack.api(environment) as (process, _):
                start.add(process.start_seconds)
                time.sleep(REST_SECONDS)
                memory.add(process.rss() / MB)

        def bare() -> None:
            port = free_port()
            with lab.stack.python(
                ["-m", "bench.bare.web", str(port)], ready=lambda: probes.answers("127.0.0.1", port, "/health/live")
            ) as process:
                bare_start.add(process.start_seconds)
                time.sleep(REST_SECONDS)
                bare_memory.add(process.rss() / MB)

        rounds(lab.rounds, [start, bare_start, memory, bare_memory], ours, bare, step=step)
    return [
        Figure("API, start to first answer", start, [bare_start], bar=2, higher_is_better=False),
        Figure("API, memory at rest", memory, [bare_memory], bar=200, higher_is_better=False, note="resident set"),
    ]


def worker(lab: Lab) -> list[Figure]:
    """A worker child after it has embedded, beside a process that holds the bare model and has run it."""
    ours, bare = Samples("worker process less model", "MiB"), Samples("bare model process less model", "MiB")
    pictures = catalogue_pictures(PICTURES)
    folders = write_folders(pictures, lab.stack.folder / "embedded", 1)
    body = json.dumps({"input": {"images": [inline(data) for data in pictures]}}).encode()
    waiting = request("/v1/embed", body, headers={"Prefer": "wait=60"})
    count = lab.pick(3, 1)
    weights = 0
    with lab.track("CLIP worker at rest", 2 * (count + 1)) as step:

        def run() -> None:
            environment = lab.stack.environment(lab.stack.fresh_database())
            with lab.stack.api(environment) as (_, port), lab.stack.worker(environment, ["embed"], 1) as process:
                load.run(port, [waiting] * 4, connections=1, expect=[200])
                time.sleep(REST_SECONDS)
                child = max(one.memory_info().rss for one in process.children())
                ours.add((child - weights) / MB)

        def run_bare() -> None:
            nonlocal weights
            with BareModel.running(MODEL, REPOSITORY / "models.toml", folders) as model:
                model.run()
                weights = model.model_bytes
                bare.add((model.rss() - weights) / MB)

        rounds(count, [ours, bare], run_bare, run, step=step)
    note = f"resident set less {weights / MB:.0f} MiB of weights; {MODEL}"
    return [Figure("CLIP worker, memory over its model", ours, [bare], bar=400, higher_is_better=False, note=note)]
