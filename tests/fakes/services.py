"""Everything a handler is given, in memory: a fake model, a memory vector store, real fetching and decoding."""

import itertools
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import uuid_utils

from shared.cache.clients import EntryCache, NoCache
from shared.collections import CollectionRow
from shared.contracts.common import Contract
from shared.errors import ErrorCode, PermanentJobError
from shared.images.decode import DecodeLimits
from shared.images.fetch import FetchPolicy
from shared.jobs.lifecycle import ClaimedJob
from shared.model_registry import ModelRegistry
from shared.roots import Roots
from shared.tagging import KnownFile, SameFile, TaggedFile, Tagging
from shared.vectors.fencing import collection_gone
from shared.vectors.protocol import CollectionRef, Fence
from tests.fakes.models import FakeEmbedder, fake_spec
from tests.fakes.vectors import MemoryVectorStore
from workers.context import JobContext, JobHandle
from workers.pictures import PictureLoader
from workers.services import Services

SPEC = fake_spec().model_copy(update={"default_for": ("embed", "index", "search", "tag", "deduplicate")})


class FakeEmbedders:
    """One fake model a registry entry."""

    def __init__(self, *models: FakeEmbedder) -> None:
        self.models = {model.spec.alias: model for model in models}
        self.registry = ModelRegistry(tuple(model.spec for model in models))

        self.seen: dict[str, str] = {}
        """The weights behind an alias, where a test has changed them."""

    @contextmanager
    def lease(self, alias: str) -> Iterator[FakeEmbedder]:
        self.registry.get(alias)
        yield self.models[alias]

    def weights(self, alias: str) -> str:
        return self.seen.get(alias, "first")


class MemoryFiles:
    """Stored pictures by (tenant, id)."""

    def __init__(self) -> None:
        self.data: dict[tuple[str, str], tuple[bytes, str]] = {}
        self.reads = 0

    def find(self, files: Collection[tuple[str, str]]) -> None:
        """Nothing to look up ahead."""

    def read(self, tenant: str, file_id: str) -> bytes:
        self.reads += 1
        if (tenant, file_id) not in self.data:
            raise PermanentJobError(ErrorCode.IMAGE_UNREACHABLE, f"no file {file_id}")
        return self.data[tenant, file_id][0]

    def sha256_of(self, tenant: str, file_ids: Collection[str]) -> dict[str, str]:
        return {file_id: self.data[tenant, file_id][1] for file_id in file_ids if (tenant, file_id) in self.data}


@dataclass
class LockedRow:
    """A row that nobody else has."""

    collections: "MemoryCollections"
    row: CollectionRow

    def replace_vectors(self, vectors: CollectionRef, model: str) -> None:
        changed = replace(self.row, model=model, dimension=vectors.dimension, vectors_id=vectors.id)
        self.collections.rows[self.row.tenant, self.row.name] = replace(changed, version=self.row.version + 1)
        self.collections.removals[self.row.ref] = 600.0


@dataclass
class MemoryCollections:
    """The collections table. What was deleted has its row in `gone`; `files` are the kept ones (collection, item)."""

    rows: dict[tuple[str, str], CollectionRow] = field(default_factory=dict)
    gone: dict[uuid.UUID, CollectionRow] = field(default_factory=dict)
    files: dict[tuple[uuid.UUID, str], str] = field(default_factory=dict)
    removals: dict[CollectionRef, float] = field(default_factory=dict)

    def find(self, tenant: str, name: str) -> CollectionRow | None:
        return self.rows.get((tenant, name))

    def get(self, collection_id: uuid.UUID) -> CollectionRow | None:
        return next((row for row in self.rows.values() if row.id == collection_id), None)

    def keep_files(self, collection_id: uuid.UUID, files: Mapping[str, str]) -> None:
        self.files.update({(collection_id, item): file for item, file in files.items()})

    def deleted(self, collection_id: uuid.UUID) -> CollectionRow | None:
        return self.gone.get(collection_id)

    def forget_files(self, collection_id: uuid.UUID) -> bool:
        mine = [key for key in self.files if key[0] == collection_id]
        for key in mine:
            del self.files[key]
        return bool(mine)

    def erase(self, collection_id: uuid.UUID) -> None:
        self.gone.pop(collection_id, None)

    def remove_later(self, vectors: CollectionRef, *, in_seconds: float) -> None:
        self.removals[vectors] = in_seconds

    @contextmanager
    def locked(self, collection_id: uuid.UUID, fence: Fence) -> Iterator[LockedRow]:
        row = self.get(collection_id)
        if row is None:
            raise collection_gone()
        yield LockedRow(self, row)

    def ensure(self, tenant: str, name: str, *, model: str, dimension: int) -> CollectionRow:
        row = CollectionRow(uuid.uuid4(), tenant, name, model, dimension, 0, vectors_id=uuid.uuid4())
        return self.rows.setdefault((tenant, name), row)

    def move_version(self, collection: CollectionRef) -> None:
        for key, row in self.rows.items():
            if row.ref == collection:
                self.rows[key] = replace(row, version=row.version + 1)


@dataclass
class MemoryTags:
    """Tagged pictures by (tenant, path), under the rules of `shared.tagging` but for the fence."""

    rows: dict[tuple[str, str], KnownFile] = field(default_factory=dict)
    tagged: dict[tuple[str, str], TaggedFile] = field(default_factory=dict)

    def known(self, tenant: str, paths: Collection[str]) -> dict[str, KnownFile]:
        return {path: self.rows[tenant, path] for path in paths if (tenant, path) in self.rows}

    def save(self, files: Sequence[TaggedFile], tagging: Tagging, *, model: str, recipe: str) -> None:
        for file in files:
            key, version = (tagging.tenant, file.path), tagging.version
            if key not in self.rows or self.rows[key].version <= version:
                self.rows[key] = KnownFile(file.path, recipe, version, file.size, file.mtime_ns, file.file_hash)
                self.tagged[key] = file

    def confirm(self, files: Sequence[SameFile], tagging: Tagging, *, recipe: str) -> set[str]:
        confirmed = set()
        for file in files:
            row = self.rows.get((tagging.tenant, file.path))
            if row and row.recipe == recipe:
                version = max(row.version, tagging.version)
                self.rows[tagging.tenant, file.path] = replace(
                    row, version=version, size=file.size, mtime_ns=file.mtime_ns
                )
                confirmed.add(file.path)
        return confirmed


class PlainOutputs:
    """Every output rests in its row."""

    def rest(self, job: ClaimedJob, output: Contract) -> tuple[Any, str | None]:
        return output.model_dump(mode="json"), None


@dataclass
class Room:
    """A worker's surroundings, and a way to call a handler in them."""

    model: FakeEmbedder = field(default_factory=lambda: FakeEmbedder(SPEC))
    vectors: MemoryVectorStore = field(default_factory=MemoryVectorStore)
    collections: MemoryCollections = field(default_factory=MemoryCollections)
    files: MemoryFiles = field(default_factory=MemoryFiles)
    fetch_seconds: float = 5.0
    seq: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    others: tuple[FakeEmbedder, ...] = ()
    tags: MemoryTags = field(default_factory=MemoryTags)
    roots: dict[str, str] = field(default_factory=dict)
    cache: EntryCache = field(default_factory=NoCache)

    def __post_init__(self) -> None:
        policy = FetchPolicy(total_timeout=self.fetch_seconds, allow=("127.0.0.1",))
        files: Any = self.files
        self.vectors.move_version = self.collections.move_version
        self.embedders = FakeEmbedders(self.model, *self.others)
        self.services = Services(
            embedders=self.embedders,
            vectors=self.vectors,
            pictures=PictureLoader(files, policy, DecodeLimits(), threads=8),
            files=files,
            collections=self.collections,
            outputs=PlainOutputs(),
            tags=self.tags,
            roots=Roots(self.roots),
            cache=self.cache,
        )

    def job(self, *, tenant: str = "t", seconds: float = 60.0) -> JobHandle:
        return JobHandle(
            ClaimedJob(
                id=uuid.UUID(str(uuid_utils.uuid7())),
                seq=next(self.seq),
                tenant=tenant,
                kind="any",
                input={},
                attempt=1,
                failures=0,
                crashes=0,
                max_attempts=3,
                seconds_left=seconds,
                created_at=datetime.now(UTC),
            )
        )

    def context(self, *jobs: JobHandle) -> JobContext:
        return JobContext(jobs=jobs, services=self.services)
