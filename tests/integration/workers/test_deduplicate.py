"""`index` with copies, and `deduplicate`, by a real executor on a real Postgres, over both vector stores."""

import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from qdrant_client import QdrantClient

from shared.contracts.deduplicate import DEDUPLICATE, DeduplicateInput
from shared.contracts.index import INDEX, IndexInput
from shared.database.pool import Connection, connect, open_pool
from shared.images.decode import DecodeLimits, decode
from shared.vectors.fencing import Fencing
from shared.vectors.pgvector import PgVectorStore
from shared.vectors.protocol import VectorStore
from shared.vectors.qdrant import QdrantVectorStore
from tests.fakes.images import encoded
from tests.fakes.services import Room
from tests.integration.shared.jobs.conftest import add_job, job_row
from tests.integration.workers.rig import Worker
from tests.unit.workers.handlers.pictures import inline
from workers.collections import PooledCollections
from workers.handlers import deduplicate, index

CATALOGUE = Path(__file__).parents[3] / "models" / "catalogue" / "pictures"
BANANA, BICYCLE = ((CATALOGUE / f"{name}.webp").read_bytes() for name in ("banana", "bicycle"))
COPY = encoded(decode(BANANA, DecodeLimits()), "PNG")
SMALL = encoded(decode(BANANA, DecodeLimits()).resize((90, 90), Image.Resampling.LANCZOS), "PNG")


class Finder:
    """A worker that indexes and finds duplicates."""

    def __init__(self, worker: Worker, connection: Connection) -> None:
        self._worker = worker
        self._connection = connection

    def index(self, pictures: dict[str, bytes], **fields: Any) -> dict[str, Any]:
        items = [{"id": id, "image": inline(data), "payload": {"name": id}} for id, data in pictures.items()]
        raw = {"collection": "c", "items": items, **fields}
        return self._run("index", raw, INDEX.queue_for(IndexInput.model_validate(raw)))

    def deduplicate(self, **raw: Any) -> dict[str, Any]:
        return self._run("deduplicate", raw, DEDUPLICATE.queue_for(DeduplicateInput.model_validate(raw)))

    def _run(self, kind: str, raw: dict[str, Any], queue: str) -> dict[str, Any]:
        """The row of a job that has run."""
        columns = {"queue": queue, "batch_key": None, "timeout_seconds": 600}
        job_id = add_job(self._connection, kind=kind, input=raw, **columns)
        self._worker.wake(queue)
        return job_row(self._connection, job_id)


@pytest.fixture(params=["pgvector", "qdrant"])
def finder(request: pytest.FixtureRequest, postgres_url: str, tmp_path: Path) -> Iterator[Finder]:
    warnings.filterwarnings("ignore", message="Local mode is not recommended")
    room = Room(roots={"photos": str(tmp_path)})
    with open_pool(postgres_url) as pool, connect(postgres_url) as connection:
        store: VectorStore = PgVectorStore(pool)
        if request.param == "qdrant":
            store = QdrantVectorStore(QdrantClient(":memory:"), Fencing(pool), index_payloads=False)
        services = replace(room.services, vectors=store, collections=PooledCollections(pool))
        handlers = {"index": index.handle, "deduplicate": deduplicate.handle}
        worker = Worker(postgres_url, pool, services=services, handlers=handlers)
        yield Finder(worker, connection)
        worker.executor._heartbeat.close()


def output(row: dict[str, Any]) -> dict[str, Any]:
    assert row["state"] == "succeeded", row["error"]
    found: dict[str, Any] = row["output"]
    return found


def groups(row: dict[str, Any]) -> list[tuple[str, list[str]]]:
    return [(group["kind"], [member["id"] for member in group["members"]]) for group in output(row)["groups"]]


def test_a_collection(finder: Finder) -> None:
    pictures = {"banana": BANANA, "copy": COPY, "small": SMALL, "bicycle": BICYCLE}
    assert output(finder.index(pictures))["indexed"] == 4
    row = finder.deduplicate(collection="c", method=["exact", "perceptual", "semantic"])
    assert groups(row) == [("exact", ["copy", "banana"]), ("perceptual", ["copy", "small"])]
    assert (row["output"]["pictures"], row["output"]["duplicates"]) == (4, 2)
    assert row["progress_message"] == "comparing vectors"
    filtered = finder.deduplicate(collection="c", filter={"name": {"in": ["banana", "copy", "bicycle"]}})
    assert groups(filtered) == [("exact", ["copy", "banana"])]


def test_semantic_groups_by_the_stores_own_search(finder: Finder) -> None:
    shades = {f"red-{n}": encoded(Image.new("RGB", (20, 20), (255 - n, 0, 0)), "PNG") for n in range(4)}
    finder.index({**shades, "red-copy": shades["red-0"], "bicycle": BICYCLE})
    row = finder.deduplicate(collection="c", method="semantic", threshold=0.7)
    assert groups(row) == [("semantic", ["red-0", *sorted(shades, key=_distance(row))[1:]])]
    assert all(0 < member["distance"] < 0.3 for member in row["output"]["groups"][0]["members"][1:])


def _distance(row: dict[str, Any]) -> Any:
    far = {member["id"]: member["distance"] for member in row["output"]["groups"][0]["members"]}
    return lambda id: (far[id], id)


@pytest.mark.parametrize("way, indexed", [("flag", 2), ("skip", 1)])
def test_copies_at_the_entry(finder: Finder, way: str, indexed: int) -> None:
    finder.index({"banana": BANANA})
    found = output(finder.index({"again": COPY, "bicycle": BICYCLE}, on_duplicate=way))
    assert found["duplicates"] == [{"id": "again", "of": "banana"}]
    assert (found["indexed"], found["duplicates_skipped"]) == (indexed, 2 - indexed)
    assert output(finder.deduplicate(collection="c"))["pictures"] == 1 + indexed


def test_a_directory_and_a_list(finder: Finder, tmp_path: Path) -> None:
    for name, data in {"a.webp": BANANA, "b.png": COPY, "c.png": SMALL, "d.jpg": b"no picture"}.items():
        (tmp_path / name).write_bytes(data)
    row = finder.deduplicate(directory="photos")
    assert groups(row) == [
        ("exact", ["photos/b.png", "photos/a.webp"]),
        ("perceptual", ["photos/b.png", "photos/c.png"]),
    ]
    assert [(failed["id"], failed["code"]) for failed in row["output"]["failed"]] == [
        ("photos/d.jpg", "image_unsupported")
    ]
    listed = finder.deduplicate(images=[inline(SMALL), inline(BICYCLE), inline(BANANA)])
    assert groups(listed) == [("perceptual", ["images.2", "images.0"])]


def test_failures_name_what_is_wrong(finder: Finder) -> None:
    assert finder.deduplicate(collection="nothing")["error"]["code"] == "collection_unknown"
    assert "there is no root 'else'" in finder.deduplicate(directory="else")["error"]["message"]
    row = finder.deduplicate(images=[inline(b"one"), inline(b"two")])
    assert (row["state"], row["error"]["code"]) == ("failed", "image_unsupported")
