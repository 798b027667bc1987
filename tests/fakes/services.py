"""Everything a handler is given, in memory: a fake model, a memory vector store, real fetching and decoding."""

import itertools
import uuid
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import uuid_utils

from shared.collections import CollectionRow
from shared.contracts.common import Contract
from shared.errors import ErrorCode, PermanentJobError
from shared.images.decode import DecodeLimits
from shared.images.fetch import FetchPolicy
from shared.jobs.lifecycle import ClaimedJob
from shared.model_registry import ModelRegistry
from shared.vectors.protocol import CollectionRef
from tests.fakes.models import FakeEmbedder, fake_spec
from tests.fakes.vectors import MemoryVectorStore
from workers.context import JobContext, JobHandle
from workers.pictures import PictureLoader
from workers.services import Services

SPEC = fake_spec().model_copy(update={"default_for": ("embed", "index", "search")})


class FakeEmbedders:
    """One fake model a registry entry."""

    def __init__(self, *models: FakeEmbedder) -> None:
        self.models = {model.spec.alias: model for model in models}
        self.registry = ModelRegistry(tuple(model.spec for model in models))

    @contextmanager
    def lease(self, alias: str) -> Iterator[FakeEmbedder]:
        self.registry.get(alias)
        yield self.models[alias]


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
class MemoryCollections:
    """The collections table."""

    rows: dict[tuple[str, str], CollectionRow] = field(default_factory=dict)

    def find(self, tenant: str, name: str) -> CollectionRow | None:
        return self.rows.get((tenant, name))

    def ensure(self, tenant: str, name: str, *, model: str, dimension: int) -> CollectionRow:
        row = CollectionRow(uuid.uuid4(), tenant, name, model, dimension, 0, vectors_id=uuid.uuid4())
        return self.rows.setdefault((tenant, name), row)

    def move_version(self, collection: CollectionRef) -> None:
        for key, row in self.rows.items():
            if row.ref == collection:
                self.rows[key] = replace(row, version=row.version + 1)


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

    def __post_init__(self) -> None:
        policy = FetchPolicy(total_timeout=self.fetch_seconds, allow=("127.0.0.1",))
        files: Any = self.files
        self.vectors.move_version = self.collections.move_version
        self.services = Services(
            embedders=FakeEmbedders(self.model, *self.others),
            vectors=self.vectors,
            pictures=PictureLoader(files, policy, DecodeLimits(), threads=8),
            files=files,
            collections=self.collections,
            outputs=PlainOutputs(),
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
