"""What the embedded stack is made of: which processes, in which order, with which environment."""

import json
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from local import probes
from local.child import Spec
from local.environment import own_server, process_environment, stack_environment
from local.home import Home, Secrets
from local.postgres import Postgres
from local.settings import StackSettings
from local.sockets import free_port
from local.valkey import Valkey

MOST_CPU_PROCESSES = 4
GRACE_SECONDS = 10.0
"""On top of the time that a process asks for to end by itself."""


@dataclass(frozen=True)
class Worker:
    """One Celery worker: its queues, and how many processes it has."""

    name: str
    queues: tuple[str, ...]
    processes: int
    spawn: bool = False


@dataclass(frozen=True)
class Layout:
    """A planned stack."""

    servers: list[Spec]
    """Postgres and Valkey, unless the user has his own."""
    migration: list[str]
    services: list[Spec]
    """All that needs the migrated database."""
    environment: dict[str, str]
    """`DARKROOM_…` of every process, as `darkroom env` prints it."""
    process_environment: dict[str, str]
    urls: dict[str, str]


def workers(*, cores: int, has_gpu: bool) -> list[Worker]:
    """Search never shares a process with bulk work. CUDA cannot be forked, and one process a GPU is enough."""
    if has_gpu:
        return [
            Worker("search", ("search",), 1, spawn=True),
            Worker("gpu", ("embed", "index", "tag", "noop", "clip_batch"), 1, spawn=True),
        ]
    return [
        Worker("search", ("search",), 1),
        Worker("cpu", ("embed", "index", "tag", "noop"), max(1, min(cores, MOST_CPU_PROCESSES))),
        Worker("batch", ("clip_batch",), 1),
    ]


def plan(settings: StackSettings, home: Home, secrets: Secrets) -> Layout:
    """Decide everything that `up` then starts."""
    postgres = Postgres.at(home.folder)
    valkey = Valkey(home.folder / "valkey", free_port(), secrets.valkey_password)
    own_database = own_server("DARKROOM_DATABASE_URL", str(postgres.sockets))
    own_redis = own_server("DARKROOM_REDIS_URL", secrets.valkey_password)
    environment = stack_environment(
        settings, home, secrets, database_url=own_database or postgres.url(), redis_url=own_redis or valkey.url
    )
    children = process_environment(environment)
    flower_port = free_port()
    layout_workers = workers(cores=os.cpu_count() or 1, has_gpu=_has_gpu(settings.device))
    return Layout(
        servers=[
            *(
                []
                if own_database
                else [_server("postgres", postgres, children, stop_stage=3, hurry_signal=signal.SIGINT)]
            ),
            *([] if own_redis else [_server("valkey", valkey, children, stop_stage=2, hurry_signal=signal.SIGTERM)]),
        ],
        migration=[sys.executable, "-m", "shared.database.migrate", "upgrade", "head"],
        services=[
            _api(settings, children),
            *(_worker(worker, settings, children) for worker in layout_workers),
            Spec("sweeper", [sys.executable, "-m", "workers.sweeper"], children),
            _flower(flower_port, children),
        ],
        environment=environment,
        process_environment=children,
        urls={
            "api": settings.api_url,
            "postgres": environment["DARKROOM_DATABASE_URL"],
            "redis": environment["DARKROOM_REDIS_URL"],
            "flower": f"http://127.0.0.1:{flower_port}",
        },
    )


def running_environment(settings: StackSettings, home: Home, urls: Mapping[str, str]) -> dict[str, str]:
    """The settings of the stack that runs now, to do by hand what its processes do."""
    return stack_environment(settings, home, home.secrets(), database_url=urls["postgres"], redis_url=urls["redis"])


def _server(
    role: str, server: Postgres | Valkey, env: Mapping[str, str], *, stop_stage: int, hurry_signal: signal.Signals
) -> Spec:
    return Spec(
        role,
        server.command(),
        env,
        prepare=server.prepare,
        ready=lambda _run: server.ready(),
        stop_stage=stop_stage,
        stop_signal=server.stop_signal,
        hurry_signal=hurry_signal,
    )


def _api(settings: StackSettings, env: Mapping[str, str]) -> Spec:
    return Spec(
        "api",
        [sys.executable, "-m", "api"],
        env,
        ready=lambda _run: probes.answers(settings.host, settings.port, "/health/live"),
        stop_seconds=settings.shutdown_seconds + GRACE_SECONDS,
    )


def _worker(worker: Worker, settings: StackSettings, env: Mapping[str, str]) -> Spec:
    command = [sys.executable, "-m", "workers", "--name", worker.name, "--queues", ",".join(worker.queues)]
    silent = settings.log_level.upper() not in ("INFO", "DEBUG", "NOTSET")
    command += ["--concurrency", str(worker.processes), *(["--spawn"] if worker.spawn else [])]
    return Spec(
        f"worker-{worker.name}",
        command,
        {**env, "DARKROOM_WORKER_QUEUES": json.dumps(worker.queues)},
        ready=lambda run: probes.worker_is_ready(run, worker.processes, silent=silent),
        stop_stage=0,
        stop_seconds=settings.drain_seconds + GRACE_SECONDS,
    )


def _flower(port: int, env: Mapping[str, str]) -> Spec:
    celery = [sys.executable, "-m", "celery", "--app", "workers.celery_app"]
    # Read-only: it has no password, and a page in a browser could reach it.
    options = [f"--port={port}", "--address=127.0.0.1", "--read_only=true", "--persistent=false"]
    return Spec(
        "flower",
        [*celery, "flower", *options],
        env,
        ready=lambda _run: probes.answers("127.0.0.1", port, "/healthcheck"),
        # It keeps nothing, and on SIGTERM it waits for threads that wait for the broker (Flower 2.2: over 30 s).
        stop_signal=signal.SIGKILL,
    )


def _has_gpu(device: str) -> bool:
    """Without importing torch; `DARKROOM_DEVICE=cpu` says no."""
    return device.startswith("cuda") or (device == "auto" and Path("/dev/nvidia0").exists())
