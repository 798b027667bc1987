"""Postgres, Valkey, API and workers as real processes in a temp folder, on ports of their own."""

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import psycopg

from local import children, postgres, probes, valkey
from local.settings import REPOSITORY
from local.sockets import free_port
from shared.database.migrate import upgrade

TEMPLATE = "bench_template"
READY_SECONDS = 120.0
STOP_SECONDS = 40.0

Ready = Callable[[], bool]


@dataclass(frozen=True)
class Running:
    """A process that was started here."""

    process: "subprocess.Popen[bytes]"
    log: Path
    start_seconds: float
    """From its start until it was ready."""

    @property
    def pid(self) -> int:
        return self.process.pid

    def rss(self) -> int:
        """Bytes."""
        return int(psutil.Process(self.pid).memory_info().rss)

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.pid).children()


class Stack:
    """Durable servers (fsync on) with as many fresh databases and processes as a figure wants."""

    def __init__(self, folder: Path, database: postgres.Postgres, broker: valkey.Valkey) -> None:
        self.folder = folder
        self.postgres = database
        self.valkey = broker
        self._databases = 0
        self._processes = 0
        self._administer(f"CREATE DATABASE {TEMPLATE}")
        upgrade(database.url(TEMPLATE))

    @classmethod
    @contextmanager
    def running(cls, folder: Path) -> Iterator["Stack"]:
        with postgres.running(folder) as database, valkey.running(folder) as broker:
            yield cls(folder, database, broker)

    def fresh_database(self) -> str:
        """The URL of one more database with every table."""
        self._databases += 1
        name = f"bench_{self._databases}"
        self._administer(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE} STRATEGY file_copy")
        return self.postgres.url(name)

    def redis_url(self, number: int) -> str:
        """One of the 16 databases of the one Valkey, so that the twins share it and do not meet."""
        return self.valkey.url.removesuffix("/0") + f"/{number}"

    def environment(self, database_url: str) -> dict[str, str]:
        """What every process of Darkroom is told."""
        home = self.folder / "home"
        home.mkdir(exist_ok=True)
        return {
            **plain_environment(),
            "DARKROOM_EMBEDDED": "true",
            "DARKROOM_HOME": str(home),
            "DARKROOM_SECRET_KEY": secrets.token_urlsafe(48),
            "DARKROOM_DATABASE_URL": database_url,
            "DARKROOM_REDIS_URL": self.redis_url(0),
            "DARKROOM_MODELS_FILE": str(REPOSITORY / "models.toml"),
            "DARKROOM_ENABLE_NOOP": "true",
            "DARKROOM_ANONYMOUS_ACCESS": "true",
            "DARKROOM_DEVICE": "cpu",
        }

    @contextmanager
    def api(self, environment: Mapping[str, str]) -> Iterator[tuple[Running, int]]:
        """One API process; its port."""
        port = free_port()
        env = {**environment, "DARKROOM_PORT": str(port), "DARKROOM_HOST": "127.0.0.1"}
        with self.python(["-m", "api"], env, ready=lambda: probes.answers("127.0.0.1", port, "/health/live")) as api:
            yield api, port

    @contextmanager
    def worker(self, environment: Mapping[str, str], queues: Sequence[str], processes: int) -> Iterator[Running]:
        command = ["-m", "workers", "--queues", ",".join(queues), "--concurrency", str(processes)]
        command += ["--name", f"bench-{self._processes}"]
        with self.python(command, environment, ready_words=b"worker_ready") as worker:
            yield worker

    @contextmanager
    def sweeper(self, environment: Mapping[str, str]) -> Iterator[Running]:
        with self.python(["-m", "workers.sweeper"], environment, ready_words=b"sweeper_ready") as sweeper:
            yield sweeper

    @contextmanager
    def python(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str] | None = None,
        *,
        ready: Ready | None = None,
        ready_words: bytes = b"",
    ) -> Iterator[Running]:
        """A Python process from when it is ready until the block ends; stopped by its pid.

        Args:
            ready: polled; without it the process is ready when its log holds `ready_words`.
        """
        self._processes += 1
        log = self.folder / f"{self._processes}-{arguments[-1].rsplit('.', 1)[-1].replace('/', '-')}.log"
        started = time.monotonic()
        process = children.spawn(
            [sys.executable, *arguments],
            log=log,
            env=dict(environment or plain_environment()),
            cwd=REPOSITORY,
        )
        try:
            children.wait_until(
                ready or (lambda: ready_words in log.read_bytes()), process, log=log, seconds=READY_SECONDS
            )
            yield Running(process, log, time.monotonic() - started)
        finally:
            children.stop(process, signal.SIGTERM, STOP_SECONDS)

    def _administer(self, statement: str) -> None:
        with psycopg.connect(self.postgres.url("postgres"), autocommit=True) as connection:
            connection.execute(statement)


def plain_environment() -> dict[str, str]:
    """This process's own, without settings of a stack that somebody runs beside."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("DARKROOM_")}
    return {**own, "PYTHONPATH": str(REPOSITORY), "PYTHONUNBUFFERED": "1"}
