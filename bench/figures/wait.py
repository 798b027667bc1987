"""What `Prefer: wait` adds to a no-op job on an idle stack, over a plain submission of the same."""

import time
from contextlib import ExitStack

from bench import load
from bench.figure import Figure
from bench.lab import Lab
from bench.requests import single_requests, waiting_requests
from bench.rows import Completions, Rows
from bench.samples import Samples, percentile, rounds

SETTLE_SECONDS = 0.3
"""For what a submission sets off to be over before the next round: the stack is to be idle."""


def measure(lab: Lab) -> list[Figure]:
    waited, plain = Samples("Prefer: wait, p50", "ms"), Samples("plain submission, p50", "ms")
    slowest = Samples("Prefer: wait, p95", "ms")
    count = lab.pick(100, 30)
    with ExitStack() as open_now, lab.track("Prefer: wait", 2 * (lab.rounds + 1)) as step:
        stack = lab.stack
        database = stack.fresh_database()
        environment = stack.environment(database)
        _, port = open_now.enter_context(stack.api(environment))
        open_now.enter_context(stack.worker(environment, ["noop"], 1))
        open_now.enter_context(stack.sweeper(environment))
        rows, completions = Rows(database), Completions(stack.redis_url(0))
        open_now.callback(rows.close)
        open_now.callback(completions.close)

        def wait() -> None:
            done = load.run(port, waiting_requests(count), connections=1, expect=[200])
            completions.wait_for(count)
            waited.add(1_000 * percentile(done.latencies, 0.5))
            slowest.add(1_000 * percentile(done.latencies, 0.95))

        def submit() -> None:
            latencies = []
            for _ in range(count):
                latencies += load.run(port, single_requests(1), connections=1, expect=[202]).latencies
                completions.wait_for(1)  # idle again
            plain.add(1_000 * percentile(latencies, 0.5))
            time.sleep(SETTLE_SECONDS)

        rounds(lab.rounds, [waited, plain, slowest], wait, submit, step=step)
        rows.check_all_succeeded()
    added = Samples("added", "ms", [w - p for w, p in zip(waited.values, plain.values, strict=True)])
    note = f"p95 of the whole wait {slowest.median:.1f} ms; one request at a time"
    return [Figure("Prefer: wait adds, p50", added, [waited, plain], bar=20, aim=8, higher_is_better=False, note=note)]
