"""`index` with a fake model and a memory vector store."""

from typing import Any

import pytest

from shared.contracts.index import IndexInput, IndexOutput
from shared.errors import ErrorCode, JobCanceled, LeaseLost, PermanentJobError, PostponedJobError
from tests.fakes.models import FakeEmbedder, fake_spec
from tests.fakes.services import Room
from tests.fakes.vectors import MemoryVectorStore
from workers.context import JobHandle
from workers.handlers.index import handle

from .pictures import inline, png


def item(id: str, colour: str = "red", shade: int = 0, **extra: Any) -> dict[str, Any]:
    return {"id": id, "image": inline(png(colour, shade)), **extra}


def index(room: Room, *items: dict[str, Any], job: JobHandle | None = None, **fields: Any) -> Any:
    input = IndexInput.model_validate({"collection": "c", "items": list(items), **fields})
    return handle([input], room.context(job or room.job()))[0]


def stored(room: Room, name: str = "c", tenant: str = "t") -> dict[str, Any]:
    collection = room.collections.find(tenant, name)
    assert collection is not None
    return {point.id: point for point in room.vectors.list_items(collection.ref, with_vectors=True).points}


def test_the_first_index_makes_the_collection_and_pins_its_model() -> None:
    room = Room()
    output = index(room, item("a", payload={"price": 3}, text="a red thing"), item("b", "blue"))
    assert output == IndexOutput(indexed=2, skipped=0, failed=[])
    collection = room.collections.find("t", "c")
    assert collection is not None
    assert (collection.model, collection.dimension, collection.version) == ("fake", 16, 1)
    points = stored(room)
    assert (points["a"].payload, points["a"].text) == ({"price": 3}, "a red thing")


def test_unchanged_items_are_skipped_and_changed_ones_are_not() -> None:
    room = Room()
    index(room, item("a"), item("b", "blue"), item("c", payload={"n": 1}), item("d", text="x"))
    before = sum(room.model.image_batches)
    again = index(room, item("a"), item("b", "green"), item("c", payload={"n": 2}), item("d", text="y"))
    assert again == IndexOutput(indexed=3, skipped=1, failed=[])
    assert sum(room.model.image_batches) - before == 3
    assert stored(room)["c"].payload == {"n": 2}


def test_a_stored_picture_that_is_unchanged_is_not_even_read() -> None:
    room = Room()
    file_id = "file_" + "a" * 26
    import hashlib

    room.files.data["t", file_id] = (png(), hashlib.sha256(png()).hexdigest())
    picture = {"id": "a", "image": {"file": file_id}}
    assert index(room, picture).indexed == 1
    assert index(room, picture).skipped == 1
    assert room.files.reads == 1
    assert index(room, item("a")).skipped == 1, "the same bytes by another way are the same picture"


def test_a_bad_item_is_listed_and_the_others_are_indexed() -> None:
    room = Room()
    job = room.job()
    bad = {"id": "bad", "image": inline(b"not a picture")}
    output = index(room, bad, item("good"), job=job)
    assert (output.indexed, [(f.id, f.code) for f in output.failed]) == (1, [("bad", ErrorCode.IMAGE_UNSUPPORTED)])
    assert "item bad" in job.take_report().log


def test_a_job_all_of_whose_items_are_bad_fails() -> None:
    output = index(Room(), {"id": "bad", "image": inline(b"not a picture")})
    assert isinstance(output, PermanentJobError)
    assert output.code is ErrorCode.IMAGE_UNSUPPORTED


def test_another_model_than_the_collections_is_refused() -> None:
    room = Room(others=(FakeEmbedder(fake_spec("other")),))
    index(room, item("a"))
    output = index(room, item("b"), model="other")
    assert isinstance(output, PermanentJobError)
    assert output.code is ErrorCode.MODEL_MISMATCH
    assert "'fake'" in output.message


def test_jobs_of_a_batch_share_forward_passes_across_collections_and_tenants() -> None:
    room = Room()
    inputs = [
        IndexInput.model_validate({"collection": name, "items": [item(f"{n}", "red", n) for n in range(5)]})
        for name in ("c", "d", "c")
    ]
    jobs = [room.job(tenant=tenant) for tenant in ("t", "t", "u")]
    outputs = handle(inputs, room.context(*jobs))
    assert [output.indexed for output in outputs if isinstance(output, IndexOutput)] == [5, 5, 5]
    assert len(room.model.image_batches) < 8
    assert len(stored(room, "c", "t")) == len(stored(room, "d", "t")) == len(stored(room, "c", "u")) == 5


def test_the_last_submitted_wins_whatever_order_workers_run_in() -> None:
    room = Room()
    earlier, later = room.job(), room.job()
    index(room, item("a", "blue", payload={"by": "later"}), job=later)
    index(room, item("a", "red", payload={"by": "earlier"}), job=earlier)
    assert stored(room)["a"].payload == {"by": "later"}


def test_an_item_changed_while_it_was_to_be_skipped_is_looked_at_again() -> None:
    room = Room()
    index(room, item("a", "red"))
    older, newer = room.job(), room.job()
    meanwhile = room.vectors.touch
    room.vectors.touch = lambda *args, **options: (
        index(room, item("a", "blue"), job=older),
        meanwhile(*args, **options),
    )[1]  # type: ignore[method-assign]
    output = index(room, item("a", "red"), job=newer)
    assert isinstance(output, PostponedJobError)
    room.vectors.touch = meanwhile  # type: ignore[method-assign]
    assert index(room, item("a", "red"), job=newer).indexed == 1


def test_a_collection_deleted_meanwhile_fails_the_job() -> None:
    room = Room(vectors=MemoryVectorStore(has_collection=lambda collection: False))
    for items in ([item("a")], [item("a"), {"id": "bad", "image": inline(b"no picture")}]):
        output = index(room, *items)
        assert isinstance(output, PermanentJobError)
        assert output.code is ErrorCode.COLLECTION_UNKNOWN


def test_an_attempt_that_lost_its_job_writes_nothing() -> None:
    room = Room(vectors=MemoryVectorStore(owns_job=lambda fence: False))
    assert isinstance(index(room, item("a")), LeaseLost)
    assert stored(room) == {}


def test_a_canceled_job_writes_nothing_more() -> None:
    room = Room()
    job = room.job()
    job.stop(JobCanceled)
    assert isinstance(index(room, item("a"), job=job), JobCanceled)
    assert stored(room) == {}


def test_progress_tells_how_far_it_is() -> None:
    room = Room()
    job = room.job()
    index(room, *(item(str(n), "green", n) for n in range(40)), job=job)
    report = job.take_report()
    assert (report.fraction, report.message) == (1.0, "40 of 40 items")


@pytest.mark.parametrize("count", [1, 300])
def test_every_item_is_written(count: int) -> None:
    room = Room()
    items = [item(f"{n}", ("red", "green", "blue")[n % 3], n // 3) for n in range(count)]
    assert index(room, *items).indexed == count
    assert len(stored(room) if count < 100 else _all(room)) == count


def _all(room: Room) -> set[str]:
    collection = room.collections.find("t", "c")
    assert collection is not None
    return {point.id for point in room.vectors.list_items(collection.ref, limit=1000).points}
