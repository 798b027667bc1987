"""Driving bare Celery: publish through one pooled producer, and see when the last message is acknowledged."""

import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import redis
from celery import Celery

from bench.stack import Running, Stack

QUEUE = "bare"
NUMBER = 1
"""Valkey's database; Darkroom's is 0."""


@contextmanager
def bare_worker(stack: Stack, processes: int) -> Iterator[Running]:
    """`celery worker -E` with the same concurrency as Darkroom's."""
    command = ["-m", "celery", "--app", "bench.bare.celery_noop", "--quiet", "worker", "--events"]
    command += ["--concurrency", str(processes), "--pool", "prefork", "--without-gossip", "--without-mingle"]
    command += ["--hostname", "bare@%h", "--loglevel", "WARNING"]
    environment = {**stack.environment(""), "BENCH_BROKER_URL": stack.redis_url(NUMBER)}
    with stack.python(command, environment, ready_words=b"bare_ready") as worker:
        yield worker


class BareCelery:
    """Publishes empty tasks and waits for their ends."""

    def __init__(self, stack: Stack) -> None:
        self._redis = redis.Redis.from_url(stack.redis_url(NUMBER))
        self._app = Celery("bare-client", broker=stack.redis_url(NUMBER), set_as_current=False)
        self._app.conf.update(task_ignore_result=True, task_serializer="json")

    def run(self, count: int, *, seconds: float = 600.0) -> float:
        """Tasks a second, from the first publish to the last acknowledgement."""
        started = time.perf_counter()
        with self._app.producer_pool.acquire(block=True) as producer:
            for _ in range(count):
                self._app.send_task(
                    "bare.nothing", (str(uuid.uuid4()),), queue=QUEUE, producer=producer, ignore_result=True
                )
        until = time.monotonic() + seconds
        while self._redis.llen(QUEUE) or self._redis.hlen("unacked"):
            if time.monotonic() > until:
                raise TimeoutError(f"bare Celery did not finish {count} tasks in {seconds:.0f} s")
            time.sleep(0.005)
        return count / (time.perf_counter() - started)

    def close(self) -> None:
        self._app.close()
        self._redis.close()
