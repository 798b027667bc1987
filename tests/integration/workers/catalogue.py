"""Collections in a real Postgres, two fake models, stored pictures in memory, and a worker that runs jobs when told."""

import hashlib
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from qdrant_client import QdrantClient

from shared import collections, files
from shared.collections import CollectionRow
from shared.database.pool import Connection, Pool, connect
from shared.vectors.fencing import Fencing
from shared.vectors.pgvector import PgVectorStore
from shared.vectors.protocol import CollectionRef, Fence, Point, StoredPoint
from shared.vectors.qdrant import QdrantVectorStore
from tests.fakes.models import FakeEmbedder, fake_spec
from tests.fakes.services import Room
from tests.integration.shared.jobs.conftest import add_job, job_row, pass_time
from tests.integration.workers.rig import Worker
from tests.unit.workers.handlers.pictures import png
from workers.collections import PooledCollections
from workers.handlers.registry import Handlers

Act = Callable[[], object]
KINDS: tuple[str, ...] = ("index", "reembed", "delete_collection")


class _Interrupted:
    """Does what a test says at certain moments."""

    before_upsert: Act = staticmethod(lambda: None)
    during_pass: Act = staticmethod(lambda: None)
    after_first_pass: Act = staticmethod(lambda: None)

    def upsert(self, collection: CollectionRef, points: Sequence[Point], *, fence: Fence | None = None) -> None:
        self.before_upsert()
        super().upsert(collection, points, fence=fence)  # type: ignore[misc]

    def copy_deletes(self, source: CollectionRef, target: CollectionRef, *, fence: Fence | None = None) -> None:
        super().copy_deletes(source, target, fence=fence)  # type: ignore[misc]
        self.during_pass()

    def optimize(self, collection: CollectionRef) -> bool:
        self.after_first_pass()
        return bool(super().optimize(collection))  # type: ignore[misc]


class InterruptedPgVector(_Interrupted, PgVectorStore):
    """In Postgres."""


class InterruptedQdrant(_Interrupted, QdrantVectorStore):
    """In Qdrant's in-process mode."""


class HookedEmbedder(FakeEmbedder):
    """Does what a test says before the first pictures are embedded."""

    before_first: Act | None = None

    def encode_images(self, batch: Any) -> Any:
        act, self.before_first = self.before_first, None
        if act is not None:
            act()
        return super().encode_images(batch)


class Catalogue:
    """Everything belongs to the tenant `t`, and its collection is `c`, unless it says otherwise."""

    def __init__(self, url: str, pool: Pool, qdrant: QdrantClient | None = None) -> None:
        self.connection: Connection = connect(url)
        self.old = HookedEmbedder(fake_spec().model_copy(update={"default_for": ("index", "search")}))
        self.new = HookedEmbedder(fake_spec("other", dimension=8))
        room = Room(model=self.old, others=(self.new,))
        self.pictures = room.files
        self.vectors: InterruptedPgVector | InterruptedQdrant = InterruptedPgVector(pool)
        if qdrant is not None:
            self.vectors = InterruptedQdrant(qdrant, Fencing(pool), index_payloads=False)
        self.services = replace(room.services, vectors=self.vectors, collections=PooledCollections(pool))
        registry = Handlers()
        handlers = {name: registry[name] for name in KINDS}
        self.worker = Worker(url, pool, services=self.services, handlers=handlers)

    def close(self) -> None:
        self.worker.executor._heartbeat.close()
        self.connection.close()

    def picture(self, colour: str = "red", shade: int = 0, *, tenant: str = "t") -> str:
        """The id of a stored picture."""
        data = png(colour, shade)
        digest = hashlib.sha256(data)
        file_id = files.file_id(tenant, digest.digest())
        self.pictures.data[tenant, file_id] = (data, digest.hexdigest())
        self.connection.execute(
            "INSERT INTO files (id, tenant, sha256, storage_key, content_type, size, width, height) "
            "VALUES (%s, %s, %s, %s, 'image/png', %s, 16, 16) ON CONFLICT DO NOTHING",
            (file_id, tenant, digest.digest(), f"pictures/{file_id}", len(data)),
        )
        return file_id

    def item(self, id: str, colour: str = "red", shade: int = 0, **fields: Any) -> dict[str, Any]:
        return {"id": id, "image": {"file": self.picture(colour, shade)}, **fields}

    def submit_index(self, *items: dict[str, Any], name: str = "c", **columns: Any) -> uuid.UUID:
        job_id = add_job(
            self.connection,
            kind="index",
            queue="index",
            batch_key="index",
            input={"collection": name, "items": list(items)},
            **columns,
        )
        for item in items:
            self.connection.execute(
                "INSERT INTO job_files (job_id, file_id) VALUES (%s, %s) ON CONFLICT DO NOTHING",
                (job_id, item["image"]["file"]),
            )
        return job_id

    def submit_reembed(self, *, model: str = "other", name: str = "c", **options: Any) -> uuid.UUID:
        input = {"collection": name, "collection_id": str(self.row(name).id), "model": model, **options}
        return add_job(self.connection, kind="reembed", queue="clip_batch", batch_key=None, input=input)

    def submit_delete(self, name: str = "c") -> uuid.UUID:
        """As `DELETE` does it."""
        row = self.row(name)
        self.mark_deleted(name)
        input = {"collection": name, "collection_id": str(row.id)}
        return add_job(self.connection, kind="delete_collection", queue="index", batch_key=None, input=input)

    def mark_deleted(self, name: str = "c") -> None:
        self.connection.execute("UPDATE collections SET deleted_at = now() WHERE id = %s", (self.row(name).id,))

    def index(self, *items: dict[str, Any], name: str = "c") -> dict[str, Any]:
        """Submit a job and run it to its end."""
        return self.end_of(self.submit_index(*items, name=name))

    def end_of(self, job_id: uuid.UUID) -> dict[str, Any]:
        """The row of a job once it has run, and was tried again where it came to that."""
        for _ in range(10):
            row = job_row(self.connection, job_id)
            if row["state"] not in ("queued", "running"):
                return row
            self.worker.wake(row["queue"])
            if job_row(self.connection, job_id)["state"] == "queued":
                pass_time(self.connection, 700)
        raise AssertionError("the job does not end")

    def wake(self, queue: str) -> None:
        self.worker.wake(queue)

    def job(self, job_id: uuid.UUID) -> dict[str, Any]:
        return job_row(self.connection, job_id)

    def row(self, name: str = "c", tenant: str = "t") -> CollectionRow:
        row = collections.find(self.connection, tenant, name)
        assert row is not None
        return row

    def seq(self) -> int:
        found = self.connection.execute("SELECT nextval(pg_get_serial_sequence('jobs', 'seq'))").fetchone()
        assert found is not None
        return int(found[0])

    def stored(self, name: str = "c") -> dict[str, StoredPoint]:
        """All items of the collection, as its vectors are now."""
        page = self.vectors.list_items(self.row(name).ref, limit=1000, with_vectors=True)
        return {point.id: point for point in page.points}

    def one(self, statement: str, *arguments: object) -> Any:
        row = self.connection.execute(statement, arguments).fetchone()
        return row[0] if row else None
