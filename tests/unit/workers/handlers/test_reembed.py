"""`reembed` and `delete_collection` with fake models and everything in memory."""

import hashlib
import uuid
from collections.abc import Mapping
from typing import Any

import pytest

from shared.collections import CollectionRow
from shared.contracts.delete_collection import DeleteCollectionInput, DeleteCollectionOutput
from shared.contracts.index import IndexInput
from shared.contracts.reembed import ReembedInput
from shared.errors import ErrorCode, JobCanceled, PermanentJobError, RetryableJobError
from shared.vectors.fencing import build_id
from shared.vectors.protocol import CollectionRef
from tests.fakes.models import FakeEmbedder, fake_spec
from tests.fakes.services import MemoryCollections, Room
from tests.fakes.vectors import MemoryVectorStore
from workers.context import JobHandle
from workers.handlers import delete_collection, index, reembed

from .pictures import png


def room_with(*ids: str, **parts: Any) -> tuple[Room, CollectionRow]:
    """A collection of stored pictures, and a second model."""
    room = Room(others=(FakeEmbedder(fake_spec("other", dimension=8)),), **parts)
    items = []
    for shade, id in enumerate(ids):
        data, file_id = png("red", shade), f"file_{shade:026}"
        room.files.data["t", file_id] = (data, hashlib.sha256(data).hexdigest())
        items.append({"id": id, "image": {"file": file_id}})
    index.handle([IndexInput.model_validate({"collection": "c", "items": items})], room.context(room.job()))
    row = room.collections.find("t", "c")
    assert row is not None
    return room, row


def run(room: Room, row: CollectionRow, job: JobHandle | None = None, model: str = "other", **options: Any) -> Any:
    input = ReembedInput(collection="c", collection_id=row.id, model=model, **options)
    return reembed.handle([input], room.context(job or room.job()))[0]


def test_the_collection_has_the_new_model() -> None:
    room, row = room_with("a", "b")
    job = room.job()
    output = run(room, row, job)
    assert (output.model, output.dimension, output.items) == ("other", 8, 2)
    after = room.collections.get(row.id)
    assert after is not None
    assert (after.model, after.vectors_id) == ("other", build_id(job.id))
    assert room.collections.removals[row.ref] > 0
    assert job.take_report().fraction is not None


def test_a_canceled_job_changes_nothing_and_leaves_nothing() -> None:
    room, row = room_with("a")
    job = room.job()
    job.stop(JobCanceled)
    with pytest.raises(JobCanceled):
        run(room, row, job)
    assert room.collections.get(row.id) == row
    assert room.collections.removals == {CollectionRef(build_id(job.id), 8): 0}


def test_what_a_job_makes_is_noted_before_it_is_there() -> None:
    """So that it is removed whatever becomes of the job, and is not being removed as it is made."""
    noted: dict[uuid.UUID, bool] = {}

    class Looked(MemoryVectorStore):
        def create_collection(self, collection: CollectionRef, schema: Mapping[str, str] | None = None) -> None:
            noted[collection.id] = collection in kept.removals
            super().create_collection(collection, schema)

    kept = MemoryCollections()
    room, row = room_with("a", vectors=Looked(), collections=kept)
    job = room.job()
    run(room, row, job)
    assert noted[build_id(job.id)]


def test_a_model_that_is_not_known() -> None:
    room, row = room_with("a")
    with pytest.raises(PermanentJobError) as refused:
        run(room, row, model="gone")
    assert refused.value.code is ErrorCode.MODEL_UNKNOWN


def test_a_model_that_makes_no_vectors() -> None:
    spec = fake_spec("painter").model_copy(update={"dimension": None, "family": "diffusers"})
    room, row = room_with("a")
    room = Room(model=room.model, others=(FakeEmbedder(spec),), collections=room.collections, vectors=room.vectors)
    with pytest.raises(PermanentJobError) as refused:
        run(room, row, model="painter")
    assert refused.value.code is ErrorCode.MODEL_MISMATCH


def test_pictures_that_cannot_be_had_now_are_tried_again_before_they_are_left_out() -> None:
    room, row = room_with("a", "b")

    def read(tenant: str, file_id: str) -> bytes:
        if file_id.endswith("1"):
            raise RetryableJobError(ErrorCode.IMAGE_UNREACHABLE, "not now")
        return room.files.data[tenant, file_id][0]

    room.files.read = read  # type: ignore[method-assign]
    for drop in (False, True):
        with pytest.raises(RetryableJobError):
            run(room, row, drop_failed=drop)
    last = room.job()
    object.__setattr__(last.job, "failures", last.job.max_attempts - 1)
    assert [item.id for item in run(room, row, last, drop_failed=True).failed] == ["b"]


def test_a_deleted_collection_is_removed() -> None:
    room, row = room_with("a", "b")
    room.collections.gone[row.id] = room.collections.rows.pop(("t", "c"))
    job = room.job()
    input = DeleteCollectionInput(collection="c", collection_id=row.id)
    assert delete_collection.handle([input], room.context(job)) == [DeleteCollectionOutput(deleted=2)]
    assert (room.vectors.count(row.ref), room.collections.gone, room.collections.files) == (0, {}, {})
    assert delete_collection.handle([input], room.context(room.job())) == [DeleteCollectionOutput(deleted=0)]
