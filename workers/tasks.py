"""Celery's side of a worker: one thin wake-up task a queue, and the signals of a worker's life."""

import os
import shutil
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

import structlog
from celery import Celery, Task
from celery.signals import (
    celeryd_init,
    setup_logging,
    worker_process_init,
    worker_ready,
    worker_shutdown,
    worker_shutting_down,
)

from shared.contracts.registry import QUEUES
from shared.faults import fault_point
from shared.jobs.celery_settings import hard_limit_seconds
from shared.jobs.doorbell import WAKE_TASK
from shared.logging import configure_logging
from shared.settings import WorkerSettings
from workers.process import WorkerProcess

log = structlog.get_logger(__name__)

DRAIN_FLAG = "DARKROOM_DRAIN_FLAG"
"""Environment: a file that the parent makes when it is told to drain; its children look for it."""


def register(app: Celery, settings: WorkerSettings) -> None:
    """Give the app its wake-up tasks and hook the worker's life."""
    for queue in QUEUES:
        app.task(
            _wake,
            name=f"{WAKE_TASK}.{queue}",
            bind=True,
            max_retries=3,
            time_limit=hard_limit_seconds(queue),
            send_events=False,
            shared=False,
        )
    _Life(app, settings).connect()


def _wake(task: "Task[Any, Any]", queue: str, job_id: str | None = None) -> None:
    process = WorkerProcess.current()
    process.executor.wake(queue, uuid.UUID(job_id) if job_id else None)
    fault_point("worker.before_ack")


class _Life:
    """A parent that only supervises, and children that run jobs."""

    def __init__(self, app: Celery, settings: WorkerSettings) -> None:
        self._app = app
        self._settings = settings

    def connect(self) -> None:
        setup_logging.connect(self._log, weak=False)  # Celery then leaves logging alone
        celeryd_init.connect(self._before_pool, weak=False)
        worker_process_init.connect(self._in_child, weak=False)
        worker_ready.connect(self._ready, weak=False)
        worker_shutting_down.connect(self._drain, weak=False)
        worker_shutdown.connect(self._after_pool, weak=False)

    def _log(self, **_: Any) -> None:
        configure_logging(self._settings, role="worker")

    def _before_pool(self, sender: str, **_: Any) -> None:
        folder = tempfile.mkdtemp(prefix="darkroom-worker-")
        os.environ[DRAIN_FLAG] = str(Path(folder, "drain"))
        os.environ["DARKROOM_NODE"] = sender

    def _in_child(self, **_: Any) -> None:
        self._log()
        flag = Path(os.environ[DRAIN_FLAG])
        node = os.environ["DARKROOM_NODE"]
        try:
            WorkerProcess.start(self._app, self._settings, node=node, draining_for=lambda: _age_seconds(flag))
        except BaseException:
            # Celery would swallow this, and the process would take wake-ups and run nothing.
            log.exception("worker_process_not_started")
            os._exit(1)

    def _ready(self, sender: Any, **_: Any) -> None:
        queues = sorted(queue.name for queue in sender.task_consumer.queues)
        log.info("worker_ready", node=os.environ["DARKROOM_NODE"], queues=queues, processes=sender.pool.num_processes)

    def _drain(self, **_: Any) -> None:
        log.info("worker_draining", seconds=self._settings.drain_seconds)
        Path(os.environ[DRAIN_FLAG]).touch()

    def _after_pool(self, **_: Any) -> None:
        shutil.rmtree(Path(os.environ[DRAIN_FLAG]).parent, ignore_errors=True)


def _age_seconds(flag: Path) -> float | None:
    try:
        return max(0.0, time.time() - flag.stat().st_mtime)
    except FileNotFoundError:
        return None
