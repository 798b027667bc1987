"""`embed` with a fake model; fetching and decoding are real."""

import base64
import threading
import time

import numpy as np
import psycopg
import pytest

from shared.contracts.embed import EmbedInput, EmbedOutput
from shared.errors import (
    DeadlinePassed,
    DependencyUnavailable,
    ErrorCode,
    JobCanceled,
    JobStopped,
    LeaseLost,
    PermanentJobError,
    RetryableJobError,
    WorkerDraining,
)
from shared.storage import StorageError
from tests.fakes.cache import MemoryCache
from tests.fakes.picture_server import Answer, picture_server
from tests.fakes.services import Room
from workers.context import JobContext
from workers.handlers.embed import handle

from .pictures import inline, png


def embed(room: Room, *inputs: dict[str, object], seconds: float = 60.0) -> list[object]:
    parsed = [EmbedInput.model_validate(input) for input in inputs]
    return list(handle(parsed, room.context(*(room.job(seconds=seconds) for _ in inputs))))


def test_pictures_come_first_then_texts_each_in_its_order() -> None:
    (output,) = embed(Room(), {"images": [inline(png("red")), inline(png("blue"))], "texts": ["red", "blue"]})
    assert isinstance(output, EmbedOutput)
    assert [(e.kind, e.index) for e in output.embeddings] == [("image", 0), ("image", 1), ("text", 0), ("text", 1)]
    vectors = np.array([e.vector for e in output.embeddings])
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)
    likeness = vectors[:2] @ vectors[2:].T
    assert likeness.argmax(axis=1).tolist() == [0, 1]
    assert (output.model, output.dimension) == ("fake", 16)


def test_jobs_of_a_batch_share_forward_passes() -> None:
    room = Room()
    outputs = embed(room, *({"images": [inline(png("red", shade))], "texts": [f"x{shade}"]} for shade in range(20)))
    assert all(isinstance(output, EmbedOutput) for output in outputs)
    assert sum(room.model.image_batches) == 20
    assert len(room.model.image_batches) < 10
    assert room.model.text_batches == [20]


def test_base64_vectors_are_little_endian_float32() -> None:
    room = Room()
    floats, packed = embed(room, {"texts": ["red"]}, {"texts": ["red"], "encoding_format": "base64"})
    assert isinstance(floats, EmbedOutput)
    assert isinstance(packed, EmbedOutput)
    text = packed.embeddings[0].vector
    assert isinstance(text, str)
    assert np.frombuffer(base64.b64decode(text), "<f4").tolist() == floats.embeddings[0].vector


def test_a_bad_picture_is_its_own_entrys_error() -> None:
    (output,) = embed(Room(), {"images": [inline(b"hello, I am text"), inline(png())]})
    assert isinstance(output, EmbedOutput)
    bad, good = output.embeddings
    assert bad.vector is None
    assert bad.error is not None
    assert bad.error.code == ErrorCode.IMAGE_UNSUPPORTED
    assert good.vector


def test_a_job_all_of_whose_entries_are_bad_fails_with_their_code() -> None:
    bad, good = embed(Room(), {"images": [inline(b"text"), inline(b"more text")]}, {"texts": ["x"]})
    assert isinstance(bad, PermanentJobError)
    assert bad.code is ErrorCode.IMAGE_UNSUPPORTED
    assert "All 2 entries" in bad.message
    assert isinstance(good, EmbedOutput)


def test_a_host_that_is_down_is_worth_a_retry() -> None:
    with picture_server() as server:
        server.answers["/a.png"] = Answer(503, headers={"Retry-After": "7"})
        (output,) = embed(Room(), {"images": [server.url("/a.png")]})
    assert isinstance(output, RetryableJobError)
    assert (output.code, output.retry_in) == (ErrorCode.IMAGE_UNREACHABLE, 7)


def test_hanging_hosts_cost_one_deadline_together_and_stall_nobody() -> None:
    with picture_server() as server:
        server.answers["/good.png"] = Answer(body=png())
        server.answers["/hang.png"] = lambda connection: time.sleep(3)
        urls = [server.url("/hang.png" if n % 20 == 7 else "/good.png") for n in range(100)]
        room = Room(fetch_seconds=1.0)
        started = time.monotonic()
        (output,) = embed(room, {"images": urls})
        took = time.monotonic() - started
    assert isinstance(output, EmbedOutput)
    failed = [e.index for e in output.embeddings if e.error]
    assert failed == [7, 27, 47, 67, 87]
    assert took < 4 * room.fetch_seconds, "five hanging hosts cost one deadline, not five"


def test_a_canceled_job_stops_and_its_sibling_goes_on() -> None:
    room = Room()
    canceled, other = room.job(), room.job()
    canceled.stop(JobCanceled)
    inputs = [EmbedInput.model_validate({"images": [inline(png())]}) for _ in range(2)]
    first, second = handle(inputs, room.context(canceled, other))
    assert isinstance(first, JobCanceled)
    assert isinstance(second, EmbedOutput)


def test_a_job_past_its_deadline_says_so() -> None:
    (output,) = embed(Room(), {"images": [inline(png())]}, seconds=-1)
    assert isinstance(output, DeadlinePassed)


def test_a_text_over_the_models_context_is_reported() -> None:
    room = Room()
    job = room.job()
    handle([EmbedInput.model_validate({"texts": ["word " * 20, "short"]})], room.context(job))
    assert "texts.0" in job.take_report().log


def test_a_quick_job_is_settled_before_a_slow_one_beside_it_ends() -> None:
    room = Room(fetch_seconds=1.5)
    settled: list[tuple[int, float]] = []
    with picture_server() as server:
        server.answers["/hang.png"] = lambda connection: time.sleep(2)
        inputs = [{"images": [server.url("/hang.png")]}, {"images": [inline(png())]}, {"texts": ["x"]}]
        jobs = [room.job() for _ in inputs]
        started = time.monotonic()
        context = JobContext(
            jobs=jobs,
            services=room.services,
            on_settled=lambda job, _: settled.append((jobs.index(job), time.monotonic() - started)),
        )
        handle([EmbedInput.model_validate(input) for input in inputs], context)
    assert [job for job, _ in settled] == [2, 1, 0]
    assert settled[1][1] < settled[2][1] - 0.2


@pytest.mark.parametrize("reason", [WorkerDraining, LeaseLost, JobCanceled, DeadlinePassed])
def test_a_job_stopped_while_its_picture_is_fetched_says_why(reason: type[JobStopped]) -> None:
    room = Room(fetch_seconds=10)
    job = room.job()
    with picture_server() as server:
        server.answers["/slow.png"] = lambda connection: time.sleep(2)
        threading.Timer(0.3, lambda: job.stop(reason)).start()
        input = EmbedInput.model_validate({"images": [server.url("/slow.png")]})
        (output,) = handle([input], room.context(job))
    assert type(output) is reason


@pytest.mark.parametrize(
    "error", [StorageError("full"), psycopg.OperationalError("away"), DependencyUnavailable("away")]
)
def test_a_part_that_is_away_is_no_pictures_fault(error: Exception) -> None:
    room = Room()

    def away(tenant: str, file_id: str) -> bytes:
        raise error

    room.files.read = away  # type: ignore[method-assign]
    with pytest.raises(type(error)):
        embed(room, {"images": [{"file": "file_" + "a" * 26}]})


def test_what_was_embedded_before_is_not_embedded_again() -> None:
    room = Room(cache=MemoryCache())
    with picture_server() as server:
        server.answers["/a.png"] = Answer(body=png("red"))
        (first,) = embed(room, {"images": [server.url("/a.png"), inline(b"text")], "texts": ["red", "red"]})
        (again,) = embed(room, {"images": [inline(b"text"), inline(png("red")), inline(png("blue"))], "texts": ["red"]})
        server.answers["/a.png"] = Answer(body=png("blue"))
        (changed,) = embed(room, {"images": [server.url("/a.png")]})
    assert (room.model.image_batches, room.model.text_batches) == ([1, 1], [1])
    assert isinstance(first, EmbedOutput)
    assert isinstance(again, EmbedOutput)
    assert isinstance(changed, EmbedOutput)
    assert again.embeddings[1].vector == first.embeddings[0].vector
    assert again.embeddings[3].vector == first.embeddings[2].vector == first.embeddings[3].vector
    assert again.embeddings[0].error is not None
    assert again.embeddings[0].error == first.embeddings[1].error
    assert changed.embeddings[0].vector == again.embeddings[2].vector, "known by its bytes, not by its address"


def test_a_long_text_is_said_to_be_cut_also_when_it_is_known() -> None:
    room = Room(cache=MemoryCache())
    input = EmbedInput.model_validate({"texts": ["a text of rather more words than the fake model can read"]})
    for _ in range(2):
        job = room.job()
        handle([input], room.context(job))
        assert "only its beginning was embedded" in job.take_report().log
    assert room.model.text_batches == [1]
