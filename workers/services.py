"""What handlers may use, behind plain interfaces: models, vectors, pictures, collections, stored outputs."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import psycopg
import structlog

from shared import loaded_models
from shared.cache.clients import Cache, EntryCache, NoCache
from shared.collections import CollectionRow
from shared.contracts.common import Contract
from shared.database.pool import Pool, retry_once
from shared.errors import ErrorCode, JobError, PermanentJobError
from shared.images.decode import DecodeLimits
from shared.images.fetch import FetchPolicy
from shared.jobs.lifecycle import ClaimedJob
from shared.jobs.outputs import INLINE_OUTPUT_BYTES, pack
from shared.loaded_models import weights_of
from shared.model_registry import ModelRegistry, ModelSpec
from shared.roots import Roots
from shared.settings import WorkerSettings
from shared.storage import Storage, open_storage
from shared.storage.keys import job_file_key
from shared.vectors.opening import open_vectors
from shared.vectors.protocol import VectorStore
from workers import memory
from workers.collection_samples import CollectionSamples
from workers.collections import Collections, PooledCollections
from workers.files import StoredFiles
from workers.labels import LabelCache
from workers.pictures import PictureLoader
from workers.runtimes.protocol import EmbeddingRuntime
from workers.tag_store import PooledTags, TagStore

log = structlog.get_logger(__name__)


class Embedders(Protocol):
    """Loaded models that embed, by alias."""

    registry: ModelRegistry

    def lease(self, alias: str) -> AbstractContextManager[EmbeddingRuntime]:
        """The model, loaded, and kept so until the block ends. Raises JobError (`model_unknown`, …)."""

    def weights(self, alias: str) -> str:
        """What tells the model's weights from others that the alias may stand for. Everybody knows of them when this
        returns, so nobody finds what was made with others any more. Raises psycopg.Error when Postgres is away.
        """


class Outputs(Protocol):
    """Where an output rests until its job's row is written."""

    def rest(self, job: ClaimedJob, output: Contract) -> tuple[Any, str | None]:
        """(what goes into the row, None) or (None, the storage key of a large output)."""


@dataclass(frozen=True)
class Services:
    embedders: Embedders
    vectors: VectorStore
    pictures: PictureLoader
    files: StoredFiles
    collections: Collections
    outputs: Outputs
    tags: TagStore
    roots: Roots = field(default_factory=lambda: Roots({}))
    labels: LabelCache = field(default_factory=LabelCache)
    samples: CollectionSamples = field(default_factory=CollectionSamples)
    cache: EntryCache = field(default_factory=NoCache)

    def preload(self, aliases: Sequence[str]) -> list[str]:
        """Load models before the first job needs them. One that does not load fails its jobs later, not the worker.

        Returns:
            Those that were loaded.
        """
        loaded = []
        for alias in aliases:
            try:
                with self.embedders.lease(alias) as model:
                    if model.reads_text:
                        model.encode_texts(["warm up"])  # the first forward pass costs far more than the second
                    self.embedders.weights(alias)
                    memory.give_back()
                    log.info("model_loaded", model=alias, seconds=round(model.load_seconds, 2), bytes=model.bytes)
                    loaded.append(alias)
            except JobError as error:
                log.error("model_not_loaded", model=alias, error=error.message)
            except (psycopg.OperationalError, psycopg.InterfaceError):
                log.warning("weights_not_noted", model=alias)  # they will be before its first use
        return loaded


class CachedEmbedders:
    """Models of the registry through the process's cache; torch is imported with the first of them."""

    def __init__(self, registry: ModelRegistry, settings: WorkerSettings, note: Callable[[str, str], None]) -> None:
        """`note`: writes down for all processes which weights an alias stands for."""
        self.registry = registry
        self._settings = settings
        self._note = note
        self._seen: dict[str, str] = {}
        self._noted: dict[str, str] = {}
        self._cache: Any = None

    @contextmanager
    def lease(self, alias: str) -> Iterator[EmbeddingRuntime]:
        spec = self.registry.get(alias)
        if self._cache is None:
            self._cache = self._open()
        with self._cache.lease(spec) as runtime:
            yield runtime

    def weights(self, alias: str) -> str:
        spec = self.registry.get(alias)
        seen = self._seen.get(alias) or self._look(spec)
        if self._noted.get(alias) != seen:
            self._note(alias, seen)
            self._noted[alias] = seen
        return seen

    def _look(self, spec: ModelSpec) -> str:
        """Before they are read: files that change in between then have a name under which nobody looks for them."""
        seen = self._seen[spec.alias] = weights_of(spec)
        return seen

    def _open(self) -> Any:
        from workers.runtimes.cache import ModelCache
        from workers.runtimes.device import choose, prepare_torch
        from workers.runtimes.load import load_embedding

        compute = choose(self._settings.device, self._settings.dtype)
        prepare_torch(compute)
        log.info("device_chosen", device=compute.device, dtype=compute.precision, reason=compute.reason)

        def load(spec: ModelSpec) -> EmbeddingRuntime:
            self._look(spec)
            return load_embedding(spec, compute)

        return ModelCache(load, self._settings.model_memory_bytes)


class StoredOutputs:
    """Small outputs go into the row, large ones into a compressed file of the attempt."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def rest(self, job: ClaimedJob, output: Contract) -> tuple[Any, str | None]:
        plain = output.model_dump(mode="json")
        packed = pack(plain, over=INLINE_OUTPUT_BYTES)
        if packed is None:
            return plain, None
        key = job_file_key(job.tenant, str(job.id), job.attempt, "output.json.gz")
        self._storage.put(key, packed, "application/gzip")
        return None, key


def open_services(settings: WorkerSettings, pool: Pool) -> Services:
    """Everything a worker process offers its handlers; nothing is loaded or connected before it is used."""
    storage = open_storage(settings.resolved_storage_url)
    files = StoredFiles(pool, storage)
    policy = FetchPolicy(
        max_bytes=settings.max_picture_bytes, total_timeout=settings.fetch_seconds, allow=settings.fetch_allow
    )
    limits = DecodeLimits(max_pixels=settings.max_picture_pixels)
    return Services(
        embedders=CachedEmbedders(
            ModelRegistry.load(settings.models_file),
            settings,
            lambda alias, weights: retry_once(pool, lambda connection: loaded_models.note(connection, alias, weights)),
        ),
        vectors=open_vectors(settings, pool),
        pictures=PictureLoader(files, policy, limits, threads=settings.fetch_threads),
        files=files,
        collections=PooledCollections(pool),
        outputs=StoredOutputs(storage),
        tags=PooledTags(pool),
        roots=Roots(settings.image_roots),
        cache=Cache(settings.resolved_cache_url, settings.cache_seconds),
    )


def named_collection(collections: Collections, tenant: str, name: str) -> CollectionRow:
    """The tenant's collection of that name. Raises PermanentJobError (`collection_unknown`)."""
    collection = collections.find(tenant, name)
    if collection is None:
        message = f"There is no collection {name!r}. Index into it first, or correct its name."
        raise PermanentJobError(ErrorCode.COLLECTION_UNKNOWN, message)
    return collection


def model_mismatch(collection: CollectionRow, model: str) -> PermanentJobError:
    return PermanentJobError(
        ErrorCode.MODEL_MISMATCH,
        f"The collection {collection.name!r} was made with the model {collection.model!r}, not {model!r}. "
        "Leave `model` out, or use another collection.",
    )
