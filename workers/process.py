"""One worker process: what it opens when it starts, and holds until it ends."""

import os
import signal
from collections.abc import Callable, Sequence
from typing import ClassVar, Self

import structlog
from celery import Celery

from shared.contracts.registry import enabled_kinds, kinds_of
from shared.database.pool import connect, open_pool
from shared.jobs.completions import CompletionPublisher
from shared.jobs.doorbell import Doorbell, celery_publisher
from shared.settings import WorkerSettings
from workers import memory
from workers.context import JobHandle
from workers.events import TaskEvents
from workers.executor import Executor, ExecutorSettings
from workers.handlers.registry import Handlers
from workers.heartbeat import Heartbeat
from workers.services import Services, open_services

log = structlog.get_logger(__name__)


class WorkerProcess:
    """The executor of this process with all it needs. There is one; nothing of it exists before the fork."""

    _current: ClassVar["WorkerProcess | None"] = None

    def __init__(self, executor: Executor, services: Services) -> None:
        self.executor = executor
        self.services = services

    @classmethod
    def current(cls) -> "WorkerProcess":
        if cls._current is None:
            raise RuntimeError("this process was not set up as a worker")
        return cls._current

    @classmethod
    def start(
        cls, app: Celery, settings: WorkerSettings, *, node: str, draining_for: Callable[[], float | None]
    ) -> Self:
        """Open what the process needs, load the models it should start with, and be ready for wake-ups."""
        memory.use_few_arenas()
        pool = open_pool(settings.database_url)
        services = open_services(settings, pool)
        doorbell = Doorbell(celery_publisher(app))
        heartbeat = Heartbeat(
            lambda: connect(settings.database_url),
            lease_seconds=settings.lease_seconds,
            drain_seconds=settings.drain_seconds,
            stop_grace_seconds=settings.stop_grace_seconds,
            draining_for=draining_for,
            abandon=lambda handles: _abandon(executor, handles),
        )
        executor = Executor(
            worker=f"{node}:{os.getpid()}",
            pool=pool,
            kinds=enabled_kinds(noop=settings.enable_noop),
            handlers=Handlers(),
            services=services,
            heartbeat=heartbeat,
            observer=TaskEvents(app, node),
            announce=CompletionPublisher(settings.redis_url).publish,
            ring=doorbell.ring,
            draining=lambda: draining_for() is not None,
            settings=ExecutorSettings(
                lease_seconds=settings.lease_seconds,
                slice_seconds=settings.slice_seconds,
                max_crashes=settings.max_crashes,
                retention_days=settings.retention_days,
                retry_base_seconds=settings.retry_base_seconds,
                retry_cap_seconds=settings.retry_cap_seconds,
            ),
        )
        cls._current = process = cls(executor, services)
        models = services.preload(_models_to_load(settings, services))
        log.info("worker_process_ready", node=node, pid=os.getpid(), queues=settings.worker_queues, models=models)
        return process


def _models_to_load(settings: WorkerSettings, services: Services) -> tuple[str, ...]:
    if settings.preload_models is not None:
        return settings.preload_models
    served = {kind.name for queue in settings.worker_queues for kind in kinds_of(queue)}
    return tuple(spec.alias for spec in services.embedders.registry if served & set(spec.default_for))


def _abandon(executor: Executor, handles: Sequence[JobHandle]) -> None:
    """End the jobs of a handler that does not listen, then this process: nothing else ends its thread."""
    try:
        executor.abandon(handles)
    finally:
        os.kill(os.getpid(), signal.SIGKILL)
