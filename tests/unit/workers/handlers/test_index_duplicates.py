"""`index` and copies: what is kept of each picture, and what `on_duplicate` makes of equal ones."""

import base64
import hashlib
from dataclasses import replace
from typing import Any

import pytest

from shared.contracts.index import IndexInput, IndexOutput
from shared.errors import JobCanceled
from tests.fakes.images import encoded, noise, quarters
from tests.fakes.services import Room
from workers.handlers.index import handle

RED, GREEN = quarters(32, 24), noise(32, 24)


def picture(image: Any = RED, kind: str = "PNG", **options: Any) -> bytes:
    return encoded(image, kind, **options)


def item(id: str, data: bytes, **extra: Any) -> dict[str, Any]:
    return {"id": id, "image": {"base64": base64.b64encode(data).decode()}, **extra}


def index(room: Room, *items: dict[str, Any], **fields: Any) -> IndexOutput:
    job = fields.pop("job", None) or room.job()
    input = IndexInput.model_validate({"collection": "c", "items": list(items), **fields})
    (output,) = handle([input], room.context(job))
    assert isinstance(output, IndexOutput), output
    return output


def stored(room: Room) -> dict[str, Any]:
    collection = room.collections.find("t", "c")
    assert collection is not None
    return {point.id: point for point in room.vectors.list_items(collection.ref).points}


def pairs(output: IndexOutput) -> list[tuple[str, str]]:
    return [(duplicate.id, duplicate.of) for duplicate in output.duplicates]


def test_items_keep_their_picture_and_its_fingerprint() -> None:
    room = Room()
    file_id, data = "file_" + "a" * 26, picture()
    room.files.data["t", file_id] = (data, hashlib.sha256(data).hexdigest())
    index(room, {"id": "a", "image": {"file": file_id}})
    point = stored(room)["a"]
    assert point.image == {"file": file_id}
    assert point.fingerprint.file_hash == hashlib.sha256(data).hexdigest()
    assert (point.fingerprint.width, point.fingerprint.height, point.fingerprint.size) == (32, 24, len(data))


def test_copies_are_allowed_unless_said_otherwise() -> None:
    room = Room()
    output = index(room, item("a", picture()), item("b", picture()))
    assert (output.indexed, output.duplicates, output.duplicates_skipped) == (2, [], 0)


@pytest.mark.parametrize("way, indexed, skipped", [("flag", 3, 0), ("skip", 1, 2)])
def test_copies_within_a_job(way: str, indexed: int, skipped: int) -> None:
    room = Room()
    other_file = picture(kind="WEBP", lossless=True)
    output = index(room, item("a", picture()), item("b", picture()), item("c", other_file), on_duplicate=way)
    assert pairs(output) == [("b", "a"), ("c", "a")]
    assert (output.indexed, output.duplicates_skipped, output.failed) == (indexed, skipped, [])
    assert len(stored(room)) == indexed


@pytest.mark.parametrize("way", ["flag", "skip"])
def test_copies_of_what_the_collection_has(way: str) -> None:
    room = Room()
    index(room, item("old", picture()))
    batches = len(room.model.image_batches)
    output = index(room, item("new", picture()), item("other", picture(GREEN)), on_duplicate=way)
    assert pairs(output) == [("new", "old")]
    assert ("new" in stored(room)) is (way == "flag")
    assert "other" in stored(room)
    assert room.model.image_batches[batches:] == [2 if way == "flag" else 1], "what is skipped needs no vector"


@pytest.mark.parametrize("way", ["flag", "skip"])
def test_an_item_is_no_duplicate_of_itself(way: str) -> None:
    room = Room()
    index(room, item("a", picture()))
    output = index(room, item("a", picture(), payload={"n": 1}), on_duplicate=way)
    assert (output.indexed, output.duplicates) == (1, [])
    assert index(room, item("a", picture(), payload={"n": 1}), on_duplicate=way).skipped == 1


def test_a_picture_that_an_item_is_about_to_lose_is_not_copied() -> None:
    room = Room()
    index(room, item("a", picture()))
    output = index(room, item("b", picture()), item("a", picture(GREEN)), on_duplicate="skip")
    assert (output.indexed, output.duplicates) == (2, [])


def test_a_picture_that_an_item_keeps_is_copied_wherever_it_stands_in_the_job() -> None:
    room = Room()
    index(room, item("a", picture()))
    for way in ("skip", "flag"):
        output = index(room, item("b", picture()), item("a", picture()), on_duplicate=way)
        assert (pairs(output), output.skipped) == ([("b", "a")], 1)


def test_a_failed_item_keeps_its_old_picture() -> None:
    room = Room()
    index(room, item("a", picture()))
    output = index(room, item("b", picture()), item("a", b"no picture"), on_duplicate="skip")
    assert (pairs(output), output.indexed, len(output.failed)) == ([("b", "a")], 0, 1)


def test_a_job_that_comes_again_lists_what_it_listed() -> None:
    room = Room()
    items = [item("a", picture()), item("b", picture())]
    assert pairs(index(room, *items, on_duplicate="flag")) == [("b", "a")]
    again = index(room, *items, on_duplicate="flag")
    assert (pairs(again), again.indexed, again.skipped) == ([("b", "a")], 0, 2)


def test_skipping_is_the_same_for_a_large_job() -> None:
    room = Room()
    items = [item(f"{n:03}", picture(noise(16, 16 + n % 300))) for n in range(600)]
    output = index(room, *items, on_duplicate="skip")
    assert (output.indexed, output.duplicates_skipped) == (300, 300)
    assert pairs(output) == [(f"{n:03}", f"{n - 300:03}") for n in range(300, 600)]


def test_a_job_that_is_stopped_while_it_sorts_copies_out_writes_none() -> None:
    room = Room()
    job = room.job()
    job.stop(JobCanceled)
    input = IndexInput.model_validate({"collection": "c", "items": [item("a", picture())], "on_duplicate": "skip"})
    (output,) = handle([input], room.context(job))
    assert isinstance(output, JobCanceled)
    assert stored(room) == {}


def test_a_payload_against_the_schema_fails_its_item_alone() -> None:
    room = Room()
    index(room, item("a", picture()))
    ((key, row),) = room.collections.rows.items()
    room.collections.rows[key] = replace(row, payload_schema={"price": "number"})
    output = index(room, item("b", picture(), payload={"price": "much"}), item("c", picture(), payload={"price": 1}))
    assert (output.indexed, [failed.id for failed in output.failed]) == (1, ["b"])
    assert "price" in output.failed[0].message
