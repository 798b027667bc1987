"""A worker that tags with a fake model: everything else is real. As a program, one that ends where a test armed it."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from shared.contracts.tag import TAG, TagInput
from shared.database.pool import Connection, connect, open_pool
from tests.fakes.models import FakeEmbedder
from tests.fakes.services import Room
from tests.integration.shared.jobs.conftest import add_job, job_row
from tests.integration.workers.rig import Worker
from workers.handlers import tag
from workers.tag_store import PooledTags

LABELS = ["red", "green", "blue"]


@dataclass
class Tagger:
    worker: Worker
    model: FakeEmbedder
    connection: Connection

    @property
    def encoded(self) -> int:
        """Pictures that the model has seen."""
        return sum(self.model.image_batches)

    def tag(self, *, tenant: str = "t", **fields: Any) -> dict[str, Any]:
        """The row of a job that has run."""
        job_id = submit(self.connection, tenant=tenant, **fields)
        self.worker.wake("clip_batch")
        self.worker.wake("tag")
        return job_row(self.connection, job_id)


@contextmanager
def tagger(url: str, **roots: str) -> Iterator[Tagger]:
    room = Room(roots=roots)
    with open_pool(url) as pool, connect(url) as connection:
        services = replace(room.services, tags=PooledTags(pool))
        worker = Worker(url, pool, services=services, handlers={"tag": tag.handle})
        try:
            yield Tagger(worker, room.model, connection)
        finally:
            worker.executor._heartbeat.close()


def submit(connection: Connection, *, tenant: str = "t", **fields: Any) -> Any:
    raw = {"labels": LABELS, "template": "{}", "model": "fake", **fields}
    input = TagInput.model_validate(raw)
    queue, batch_key = TAG.queue_for(input), TAG.batch_key(input)
    columns = {"kind": "tag", "queue": queue, "batch_key": batch_key, "timeout_seconds": TAG.default_timeout}
    return add_job(connection, input=raw, tenant=tenant, **columns)


def hard_links(picture: bytes, folder: Path, count: int) -> None:
    """Cheap files: one on the disk, under many names."""
    folder.mkdir(parents=True, exist_ok=True)
    first = folder / "first"
    first.write_bytes(picture)
    for number in range(count):
        inside = folder / f"{number % 20:02}"
        inside.mkdir(exist_ok=True)
        os.link(first, inside / f"{number:05}.png")


if __name__ == "__main__":
    with tagger(sys.argv[1], photos=sys.argv[2]) as program:
        program.worker.wake("clip_batch")
