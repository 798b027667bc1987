"""Text searches over HTTP: answered by an idle worker, and, once they were asked before, by the API itself."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count

from bench import load
from bench.figure import Figure
from bench.lab import Lab
from bench.load import request
from bench.pictures import catalogue_pictures, inline
from bench.requests import single_requests, waiting_requests
from bench.rows import Completions, Rows
from bench.samples import Samples, percentile, rounds

CONNECTIONS = 32
RATE = 500
"""Requests a second at which the latency of cached searches is measured: the throughput that they should reach."""
ITEMS_A_JOB = 50
QUERIES = 200
"""Different searches that are asked again and again."""
_WAITING = {"Prefer": "wait=30"}


class NotCached(Exception):
    """A search that should have come from the cache did not, or the other way round."""


@dataclass
class _Shop:
    port: int
    rows: Rows
    completions: Completions


def uncached(lab: Lab) -> list[Figure]:
    """One request at a time, each another text."""
    searches, noops = Samples("text search", "ms"), Samples("no-op with Prefer: wait, p50", "ms")
    slowest = Samples("text search, p95", "ms")
    amount, numbers = lab.pick(100, 30), count()
    with _shop(lab) as shop, lab.track("uncached searches", 2 * (lab.rounds + 1)) as step:

        def search() -> None:
            texts = [f"a small red thing, number {next(numbers)}" for _ in range(amount)]
            done = load.run(shop.port, _searches(texts), connections=1, expect=[200], keep_bodies=True)
            _check(done.bodies, cached=False)
            searches.add(1_000 * percentile(done.latencies, 0.5))
            slowest.add(1_000 * percentile(done.latencies, 0.95))

        def run_noops() -> None:
            done = load.run(shop.port, waiting_requests(amount), connections=1, expect=[200])
            noops.add(1_000 * percentile(done.latencies, 0.5))

        rounds(lab.rounds, [searches, slowest, noops], search, run_noops, step=step)
        shop.rows.check_all_succeeded()
    note = f"starter-clip, {_items(lab):,} items; one request at a time; p95 {slowest.median:.1f} ms"
    return [Figure("text search, p50", searches, [noops], aim=40, higher_is_better=False, note=note)]


def cached(lab: Lab) -> list[Figure]:
    """As many as there can be over 32 connections, and their latency at a steady rate."""
    ours, submissions = Samples("cached text search", "requests/s"), Samples("POST /v1/noop", "requests/s")
    full, steady = Samples("p50 at full load", "ms"), Samples("p50", "ms")
    slowest, client = Samples("p95", "ms"), Samples("client", "core")
    amount = lab.pick(6_000, 1_500)
    texts = [f"a thing of kind {number}" for number in range(QUERIES)]
    with _shop(lab) as shop, lab.track("cached searches", 3 * (lab.rounds + 1)) as step:
        load.run(shop.port, _searches(texts), connections=4, expect=[200])
        shop.completions.wait_for(len(texts))
        requests = (_searches(texts) * (amount // QUERIES + 1))[:amount]

        def search() -> None:
            shop.rows.vacuum()
            done = load.run(shop.port, requests, connections=CONNECTIONS, expect=[200], keep_bodies=True)
            _check(done.bodies, cached=True)
            ours.add(done.rate)
            client.add(done.client_share)
            full.add(1_000 * percentile(done.latencies, 0.5))

        def search_steadily() -> None:
            done = load.run(shop.port, requests, connections=CONNECTIONS, expect=[200], rate=RATE)
            steady.add(1_000 * percentile(done.latencies, 0.5))
            slowest.add(1_000 * percentile(done.latencies, 0.95))

        def submit() -> None:
            shop.rows.vacuum()
            submissions.add(load.run(shop.port, single_requests(amount), connections=CONNECTIONS).rate)
            shop.completions.wait_for(amount)

        samples = [ours, submissions, full, steady, slowest, client]
        rounds(lab.rounds, samples, search, search_steadily, submit, step=step)
        shop.rows.check_all_succeeded()
    note = f"one API process, {CONNECTIONS} connections; the client itself takes {client.median:.2f} of a core"
    at = f"{RATE} requests/s over {CONNECTIONS} connections; p95 {slowest.median:.1f} ms"
    return [
        Figure("cached text searches", ours, [submissions], aim=500, note=note),
        Figure("cached text search, p50", steady, [full], aim=10, higher_is_better=False, note=at),
    ]


@contextmanager
def _shop(lab: Lab) -> Iterator[_Shop]:
    """A collection of catalogue pictures, one API process and one worker process."""
    stack = lab.stack
    database = stack.fresh_database()
    environment = stack.environment(database)
    with ExitStack() as open_now:
        _, port = open_now.enter_context(stack.api(environment))
        open_now.enter_context(stack.worker(environment, ["search", "noop", "index"], 1))
        open_now.enter_context(stack.sweeper(environment))
        rows, completions = Rows(database), Completions(stack.redis_url(0))
        open_now.callback(rows.close)
        open_now.callback(completions.close)
        jobs = _index_requests(_items(lab))
        load.run(port, jobs, connections=4, expect=[202])
        completions.wait_for(len(jobs))
        yield _Shop(port, rows, completions)


def _items(lab: Lab) -> int:
    return lab.pick(1_000, 300)


def _index_requests(items: int) -> list[bytes]:
    entries = [
        {"id": f"item-{number}", "image": inline(data), "payload": {"number": number}}
        for number, data in enumerate(catalogue_pictures(items))
    ]
    jobs = [entries[start : start + ITEMS_A_JOB] for start in range(0, items, ITEMS_A_JOB)]
    bodies = [json.dumps({"input": {"collection": "shop", "items": some}}).encode() for some in jobs]
    return [request("/v1/index", body) for body in bodies]


def _searches(texts: list[str]) -> list[bytes]:
    bodies = [json.dumps({"input": {"collection": "shop", "text": text}}).encode() for text in texts]
    return [request("/v1/search", body, headers=_WAITING) for body in bodies]


def _check(bodies: list[bytes], *, cached: bool) -> None:
    wrong = [body for body in bodies if json.loads(body)["metrics"]["cached"] != cached]
    if wrong:
        raise NotCached(f"{len(wrong)} of {len(bodies)} answers: {wrong[0][:300]!r}")
