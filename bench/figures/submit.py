"""Submissions a second to one API process, one job a request and 1,000 a request."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import asyncpg
from uuid_utils.compat import uuid7

from bench import load
from bench.figure import Figure
from bench.lab import Lab
from bench.requests import batch_requests, nothing_requests, single_requests
from bench.rows import Rows
from bench.samples import Samples, rounds
from local import probes
from local.sockets import free_port

CONNECTIONS = 32
POOL = 10
"""Connections of the bare inserts: as many as the API's pool has."""
_BARE_INSERT = """
INSERT INTO jobs (id, tenant, kind, queue, batch_key, input, timeout_seconds)
VALUES ($1, 'default', 'noop', 'noop', 'noop', '{}', 60)
"""


@dataclass
class _Servers:
    port: int
    bare_port: int
    database: str
    rows: Rows


def single(lab: Lab) -> list[Figure]:
    """`POST /v1/noop` over 32 connections."""
    ours, web = Samples("POST /v1/noop", "jobs/s"), Samples("bare FastAPI endpoint", "requests/s")
    insert, client = Samples("bare asyncpg insert", "rows/s"), Samples("client", "core")
    count = lab.pick(6_000, 1_500)
    with _servers(lab) as servers, lab.track("submit singly", 3 * (lab.rounds + 1)) as step:

        def submit() -> None:
            servers.rows.vacuum()
            done = load.run(servers.port, single_requests(count), connections=CONNECTIONS)
            ours.add(done.rate)
            client.add(done.client_share)

        def ask_bare() -> None:
            web.add(load.run(servers.bare_port, nothing_requests(count), connections=CONNECTIONS).rate)

        def insert_bare() -> None:
            servers.rows.vacuum()
            insert.add(count / asyncio.run(_insert_bare(servers.database, count)))

        rounds(lab.rounds, [ours, web, insert, client], submit, ask_bare, insert_bare, step=step)
    note = f"32 connections; the client itself takes {client.median:.2f} of a core"
    return [Figure("submit, one API process", ours, [web, insert], bar=700, aim=1_500, note=note)]


def batch(lab: Lab) -> list[Figure]:
    """`POST /v1/jobs/batch` with 1,000 jobs a request, two requests at a time."""
    ours, insert = Samples("POST /v1/jobs/batch", "jobs/s"), Samples("bare asyncpg executemany", "rows/s")
    count = lab.pick(30_000, 6_000)
    with _servers(lab) as servers, lab.track("submit in batches", 2 * (lab.rounds + 1)) as step:
        requests = batch_requests(count)

        def submit() -> None:
            servers.rows.vacuum()
            ours.add(count / load.run(servers.port, requests, connections=2).seconds)

        def insert_bare() -> None:
            servers.rows.vacuum()
            insert.add(count / asyncio.run(_insert_bare_batches(servers.database, count)))

        rounds(lab.rounds, [ours, insert], submit, insert_bare, step=step)
    return [Figure("submit by batch of 1,000", ours, [insert], bar=5_000, aim=10_000)]


@contextmanager
def _servers(lab: Lab) -> Iterator[_Servers]:
    """An API process and its bare twin; nobody runs the jobs."""
    stack = lab.stack
    database = stack.fresh_database()
    bare_port = free_port()
    with ExitStack() as open_now:
        _, port = open_now.enter_context(stack.api(stack.environment(database)))
        ready = lambda: probes.answers("127.0.0.1", bare_port, "/health/live")  # noqa: E731
        open_now.enter_context(stack.python(["-m", "bench.bare.web", str(bare_port)], ready=ready))
        rows = Rows(database)
        open_now.callback(rows.close)
        yield _Servers(port, bare_port, database, rows)


async def _insert_bare(url: str, count: int) -> float:
    """Seconds for `count` one-row transactions, 32 callers over a pool."""
    ids = iter([uuid7() for _ in range(count)])
    async with asyncpg.create_pool(url, min_size=POOL, max_size=POOL) as pool:

        async def caller() -> None:
            for id in ids:
                await pool.execute(_BARE_INSERT, id)

        started = time.perf_counter()
        await asyncio.gather(*(caller() for _ in range(CONNECTIONS)))
        return time.perf_counter() - started


async def _insert_bare_batches(url: str, count: int) -> float:
    """Seconds for transactions of 1,000 rows each, two at a time."""
    batches = iter([[(uuid7(),) for _ in range(1_000)] for _ in range(count // 1_000)])
    async with asyncpg.create_pool(url, min_size=2, max_size=2) as pool:

        async def caller() -> None:
            for batch in batches:
                await pool.executemany(_BARE_INSERT, batch)

        started = time.perf_counter()
        await asyncio.gather(caller(), caller())
        return time.perf_counter() - started
