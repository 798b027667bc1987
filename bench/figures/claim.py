"""How long a claim takes in a deep queue and in a shallow one."""

import time
from collections.abc import Callable

from bench.figure import Figure
from bench.lab import Lab
from bench.samples import Samples, percentile, rounds
from shared.contracts.noop import NOOP
from shared.database.pool import Connection, connect
from shared.jobs import lifecycle
from shared.jobs.lifecycle import Outcome, Verdict

SHALLOW = 1_000
CHUNK = 20_000
_FILL = """
INSERT INTO jobs (id, tenant, kind, queue, batch_key, input, timeout_seconds, next_run_at)
SELECT uuidv7(), 'default', 'noop', 'noop', 'noop', '{}', 60, clock_timestamp() FROM generate_series(1, %s)
"""


def measure(lab: Lab) -> list[Figure]:
    """Batches of 64 and single jobs; p50 and p99. As many rows come in as are claimed and finished."""
    deep = lab.pick(1_000_000, 100_000)
    connections = {rows: _filled(lab, rows) for rows in (SHALLOW, deep)}
    figures = []
    for batch in (NOOP.max_batch, 1):
        figures += _compare(lab, connections, deep, batch)
    for connection in connections.values():
        connection.close()
    return figures


def _filled(lab: Lab, rows: int) -> Connection:
    connection = connect(lab.stack.fresh_database())
    # The disk's own pace at COMMIT is the same for both, and would hide what is to be seen here.
    connection.execute("SET synchronous_commit = off")
    with lab.track(f"queue {rows:,} rows", rows) as step:
        for start in range(0, rows, CHUNK):
            chunk = min(CHUNK, rows - start)
            connection.execute(_FILL, (chunk,))
            for _ in range(chunk):
                step()
    connection.execute("VACUUM ANALYZE jobs")
    return connection


def _compare(lab: Lab, connections: dict[int, Connection], deep: int, batch: int) -> list[Figure]:
    claims = lab.pick(150, 60)
    middle = {rows: Samples(f"p50 with {rows:,} rows", "ms") for rows in connections}
    slow = {rows: Samples(f"p99 with {rows:,} rows", "ms") for rows in connections}

    def side(rows: int) -> Callable[[], None]:
        def run() -> None:
            latencies = _claims(connections[rows], claims, batch)
            middle[rows].add(1_000 * percentile(latencies, 0.5))
            slow[rows].add(1_000 * percentile(latencies, 0.99))

        return run

    with lab.track(f"claims of {batch}", 2 * (lab.rounds + 1)) as step:
        sides = [side(rows) for rows in connections]
        rounds(lab.rounds, [*middle.values(), *slow.values()], *sides, step=step)
    name = f"claim of {batch}, {deep:,} rows over {SHALLOW:,}"
    return [
        Figure(
            f"{name}, {which}",
            of[deep].over(of[SHALLOW], "ratio"),
            [of[deep], of[SHALLOW]],
            bar=2,
            higher_is_better=False,
        )
        for which, of in (("p50", middle), ("p99", slow))
    ]


def _claims(connection: Connection, count: int, batch: int) -> list[float]:
    """Seconds of each claim."""
    latencies = []
    for _ in range(count):
        started = time.perf_counter()
        jobs = lifecycle.claim(
            connection, "noop", worker="bench", lease_seconds=60, limits={"noop": batch}, max_crashes=3
        )
        latencies.append(time.perf_counter() - started)
        assert len(jobs) == batch
        ends = [Outcome(job.id, job.attempt, Verdict.SUCCEEDED, output={}) for job in jobs]
        lifecycle.finish(connection, ends, retention_days=30)
        connection.execute(_FILL, (batch,))
    return latencies
