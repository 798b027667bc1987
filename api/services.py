"""What one API process holds, from its start to its end."""

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from fastapi import Request

from api.auth import Authenticator
from api.intake.answers import KnownAnswers
from api.intake.prepare import Intake
from shared.cache.clients import AsyncCache
from shared.contracts.common import JobKind
from shared.contracts.registry import enabled_kinds, offered_kinds
from shared.database.asynchronous import Database
from shared.database.pool import Pool, open_pool
from shared.jobs.doorbell import Doorbell, open_doorbell
from shared.jobs.submission import Submitter
from shared.jobs.waiting import WaiterHub
from shared.model_registry import ModelRegistry
from shared.settings import ApiSettings
from shared.storage import Storage, open_storage
from shared.vectors.protocol import VectorStore


class Services:
    """Everything that routes use. Made before the server starts; connects to nothing until it is asked.

    Raises:
        ConfigurationError: the model list or the storage cannot be used.
    """

    def __init__(self, settings: ApiSettings) -> None:
        self.settings = settings
        self.kinds: Mapping[str, JobKind[Any, Any]] = enabled_kinds(noop=settings.enable_noop)
        self.offered: Mapping[str, JobKind[Any, Any]] = offered_kinds(noop=settings.enable_noop)
        self.registry = ModelRegistry.load(settings.models_file)
        self.storage: Storage = open_storage(settings.resolved_storage_url)
        self.database = Database(settings.database_url, size=settings.database_pool_size)
        self.submitter = Submitter(self.database)
        self.authenticator = Authenticator(self.database, settings)
        self.intake = Intake(self.database, self.storage, self.registry, settings)
        self.cache = AsyncCache(settings.resolved_cache_url, settings.cache_seconds)
        self.answers = KnownAnswers(self.database, self.registry, self.cache)
        self.stopping = False
        """True from the signal to stop on: not ready any more, and nobody is kept waiting."""

    @cached_property
    def hub(self) -> WaiterHub:
        return WaiterHub(self.settings.redis_url)

    @cached_property
    def doorbell(self) -> Doorbell:
        settings = self.settings
        return open_doorbell(settings.celery_broker_url, debounce_seconds=settings.ring_debounce_seconds)

    @cached_property
    def pool(self) -> Pool:
        """Synchronous connections, for the vector store and the management of keys; used in threads only."""
        return open_pool(self.settings.database_url, max_size=4)

    @cached_property
    def vectors(self) -> VectorStore:
        from shared.vectors.opening import open_vectors  # brings numpy, which submissions do without

        return open_vectors(self.settings, self.pool)

    async def open(self) -> None:
        await self.database.open()
        self.hub.start()
        _ = self.doorbell

    def stop(self) -> None:
        """The process is about to end: answer those who wait."""
        self.stopping = True
        self.hub.release()

    async def close(self) -> None:
        self.stop()
        self.doorbell.close()
        self.intake.close()
        await self.hub.close()
        await self.cache.close()
        await self.authenticator.close()
        await self.database.close()
        if "pool" in self.__dict__:
            self.pool.close()


def services_of(request: Request) -> Services:
    services: Services = request.app.state.services
    return services
