"""`tag` for pictures of requests, with a fake model; fetching and decoding are real."""

from datetime import datetime
from typing import Any

import numpy as np
import pytest
from PIL import Image

from shared.contracts.tag import TagInput, TagOutput
from shared.errors import ErrorCode, JobCanceled, PermanentJobError
from tests.fakes.images import encoded, exif
from tests.fakes.models import FakeEmbedder, fake_spec
from tests.fakes.picture_server import Answer, picture_server
from tests.fakes.services import SPEC, Room
from workers.context import JobContext, JobHandle
from workers.handlers.tag import handle

from .pictures import inline, png

COLOURS = ["red", "green", "blue"]


def tag(room: Room, *inputs: dict[str, Any], jobs: list[JobHandle] | None = None) -> list[object]:
    parsed = [TagInput.model_validate({"labels": COLOURS, "template": "{}", **input}) for input in inputs]
    return list(handle(parsed, room.context(*(jobs or [room.job() for _ in inputs]))))


def tags_of(output: object, index: int = 0) -> dict[str, float]:
    assert isinstance(output, TagOutput)
    return {tag.tag: tag.score for tag in output.images[index].tags}


def test_the_best_label_comes_first() -> None:
    (output,) = tag(Room(), {"images": [inline(png(colour)) for colour in ("blue", "red", "green")]})
    assert isinstance(output, TagOutput)
    assert [picture.tags[0].tag for picture in output.images] == ["blue", "red", "green"]
    assert (output.files, output.tagged, output.unchanged, output.failed) == (3, 3, 0, 0)
    assert output.model == "fake"
    assert output.directory is None


def test_scores_are_the_softmax_of_the_models_cosines() -> None:
    room = Room(model=FakeEmbedder(SPEC, logit_scale=7.0))
    (output,) = tag(room, {"images": [inline(png("red"))]})
    picture = room.model.encode_images(room.model.preprocess(Image.new("RGB", (16, 16), (255, 0, 0)))[None])[0]
    logits = 7.0 * (room.model.encode_texts(COLOURS) @ picture)
    shares = np.exp(logits) / np.exp(logits).sum()
    assert tags_of(output) == pytest.approx(dict(zip(COLOURS, shares, strict=True)), abs=1e-5)
    assert sum(tags_of(output).values()) == pytest.approx(1, abs=1e-5)


def test_top_k_and_min_score() -> None:
    room, red = Room(), {"images": [inline(png("red"))]}
    two, all_three, sure = tag(room, {**red, "top_k": 2}, red, {**red, "min_score": 0.5})
    assert list(tags_of(two)) == list(tags_of(all_three))[:2]
    assert len(tags_of(all_three)) == 3
    assert list(tags_of(sure)) == ["red"]
    (none,) = tag(room, {**red, "labels": ["left", "right"], "min_score": 1.0})
    assert tags_of(none) == {}


def test_labels_with_equal_scores_stand_in_their_order() -> None:
    labels = ["up z", "up a", "up m"]  # the template keeps to their first words: all the same to the model
    room = Room()
    room.model.context = 1
    (output,) = tag(room, {"images": [inline(png("red"))], "labels": labels})
    assert list(tags_of(output)) == labels


def test_each_label_by_itself() -> None:
    room = Room(model=FakeEmbedder(SPEC, logit_scale=2.0))
    (output,) = tag(room, {"images": [inline(png("red"))], "labels": ["red", "red red", "thing"], "multi_label": True})
    scores = tags_of(output)
    assert scores["red"] == scores["red red"] > 0.5, "several may fit"
    assert scores["thing"] == 0.5, "this is what nothing in particular is called"


def test_jobs_with_other_labels_share_forward_passes() -> None:
    room = Room()
    outputs = tag(
        room,
        *({"images": [inline(png("red", shade)), inline(png("blue", shade))]} for shade in range(8)),
        {"images": [inline(png("green"))], "labels": ["blue", "green"]},
    )
    assert [next(iter(tags_of(output))) for output in outputs] == ["red"] * 8 + ["green"]
    assert next(iter(tags_of(outputs[0], 1))) == "blue"
    assert sum(room.model.image_batches) == 17
    assert len(room.model.image_batches) < 9
    assert room.model.text_batches == [4, 3], "each label set once"


def test_the_camera_says_when() -> None:
    taken = encoded(Image.new("RGB", (16, 16), "red"), "JPEG", exif=exif(taken="2024:05:09 10:00:00"))
    (output,) = tag(Room(), {"images": [inline(taken), inline(png())]})
    assert isinstance(output, TagOutput)
    assert [picture.taken_at for picture in output.images] == [datetime(2024, 5, 9, 10), None]
    assert output.model_dump(mode="json")["images"][0]["taken_at"] == "2024-05-09T10:00:00"


def test_sources_are_urls_and_file_ids() -> None:
    room, file = Room(), "file_" + "a" * 26
    room.files.data["t", file] = (png("red"), "hash")
    with picture_server() as server:
        server.answers["/1.png"] = Answer(body=png("blue"))
        (output,) = tag(room, {"images": [server.url("/1.png"), {"file": file}]})
        assert isinstance(output, TagOutput)
        assert [picture.source for picture in output.images] == [server.url("/1.png"), file]


def test_a_bad_picture_is_its_own_entrys_error_and_a_job_of_only_bad_ones_fails() -> None:
    room = Room()
    mixed, bad = tag(room, {"images": [inline(b"text"), inline(png("red"))]}, {"images": [inline(b"text")] * 2})
    assert isinstance(mixed, TagOutput)
    assert mixed.images[0].error is not None
    assert mixed.images[0].error.code == ErrorCode.IMAGE_UNSUPPORTED
    assert (mixed.images[0].tags, mixed.tagged, mixed.failed) == ([], 1, 1)
    assert next(iter(tags_of(mixed, 1))) == "red"
    assert isinstance(bad, PermanentJobError)
    assert "All 2 entries" in bad.message


def test_tags_are_saved_only_when_asked() -> None:
    room, files = Room(), ["file_" + letter * 26 for letter in "ab"]
    room.files.data["t", files[0]] = (png("red"), "hash")
    images: dict[str, Any] = {"images": [{"file": file} for file in files]}
    tag(room, images)
    assert not room.tags.rows
    (output,) = tag(room, {**images, "save": True, "top_k": 1})
    ((key, row),) = room.tags.tagged.items()
    assert key == ("t", files[0]), "what failed is not there"
    assert row.tags == [("red", tags_of(output)["red"])]
    assert row.file_hash is not None
    assert row.size is None


def test_a_model_that_reads_no_text_fails_the_job() -> None:
    spec = fake_spec("blind")
    room = Room(others=(FakeEmbedder(spec, reads_text=False),))
    (output,) = tag(room, {"images": [inline(png())], "model": "blind"})
    assert isinstance(output, PermanentJobError)
    assert output.code is ErrorCode.MODEL_MISMATCH


def test_a_canceled_job_stops_and_its_sibling_goes_on() -> None:
    room = Room()
    canceled, other = room.job(), room.job()
    canceled.stop(JobCanceled)
    first, second = tag(room, *[{"images": [inline(png("red"))], "save": True}] * 2, jobs=[canceled, other])
    assert isinstance(first, JobCanceled)
    assert isinstance(second, TagOutput)


def test_a_quick_job_is_settled_before_a_slow_one_beside_it() -> None:
    room, settled = Room(fetch_seconds=1.0), list[int]()
    with picture_server() as server:
        server.answers["/gone.png"] = Answer(503, headers={"Retry-After": "1"})
        jobs = [room.job(), room.job()]
        context = JobContext(jobs, room.services, on_settled=lambda job, _: settled.append(jobs.index(job)))
        images = [[server.url("/gone.png"), inline(png())], [inline(png())]]
        handle([TagInput.model_validate({"images": each}) for each in images], context)
    assert sorted(settled) == [0, 1], "each is settled by the handler itself"
