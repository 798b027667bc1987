"""No-op jobs from submission to their written end, batch-submitted and singly, beside bare Celery."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from bench import load
from bench.bare.celery_client import BareCelery, bare_worker
from bench.figure import Figure
from bench.lab import CORES, Lab
from bench.requests import batch_requests, single_requests
from bench.rows import Completions, Rows
from bench.samples import Samples, rounds

CONNECTIONS = 32


@dataclass
class _Twins:
    port: int
    rows: Rows
    completions: Completions
    bare: BareCelery


def measure(lab: Lab) -> list[Figure]:
    batched, single = Samples("batch-submitted", "jobs/s"), Samples("singly submitted", "jobs/s")
    bare = Samples("bare Celery", "jobs/s")
    many, few, messages = lab.pick(20_000, 4_000), lab.pick(4_000, 1_000), lab.pick(3_000, 1_000)
    with _twins(lab) as twins, lab.track("no-ops end to end", 3 * (lab.rounds + 1)) as step:

        def run_batched() -> None:
            batched.add(_run(twins, batch_requests(many), 4, many))

        def run_single() -> None:
            single.add(_run(twins, single_requests(few), CONNECTIONS, few))

        def run_bare() -> None:
            bare.add(twins.bare.run(messages))

        rounds(lab.rounds, [batched, bare, single], run_batched, run_bare, run_single, step=step)
        twins.rows.check_all_succeeded()
    note = f"{CORES} processes each; HTTP submission included"
    return [
        Figure("no-ops batch-submitted, end to end", batched, [bare], bar=5_000, note=note),
        Figure("  over bare Celery, events on", batched.over(bare, "ratio"), bar=8, aim=20),
        Figure("no-ops singly submitted, end to end", single, [bare], note=note),
        Figure("  over bare Celery, events on", single.over(bare, "ratio"), bar=1),
    ]


@contextmanager
def _twins(lab: Lab) -> Iterator[_Twins]:
    stack = lab.stack
    database = stack.fresh_database()
    environment = stack.environment(database)
    with ExitStack() as open_now:
        _, port = open_now.enter_context(stack.api(environment))
        open_now.enter_context(stack.worker(environment, ["noop"], CORES))
        open_now.enter_context(stack.sweeper(environment))
        open_now.enter_context(bare_worker(stack, CORES))
        rows, completions, bare = Rows(database), Completions(stack.redis_url(0)), BareCelery(stack)
        for one in (rows, completions, bare):
            open_now.callback(one.close)
        yield _Twins(port, rows, completions, bare)


def _run(twins: _Twins, requests: list[bytes], connections: int, jobs: int) -> float:
    """Jobs a second from the first request to the last job's end."""
    twins.rows.vacuum()
    started = time.perf_counter()
    load.run(twins.port, requests, connections=connections)
    twins.completions.wait_for(jobs)
    return jobs / (time.perf_counter() - started)
