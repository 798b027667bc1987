"""`tag` for a directory, with a fake model and tags in memory; walking, reading and decoding are real."""

import os
from pathlib import Path
from typing import Any

import pytest

from shared.contracts.tag import MAX_LISTED_FAILURES, TagInput, TagOutput
from shared.errors import (
    ErrorCode,
    JobCanceled,
    JobStopped,
    LeaseLost,
    PermanentJobError,
    PostponedJobError,
    WorkerDraining,
)
from shared.tagging import TaggedFile, Tagging
from tests.fakes.models import FakeEmbedder
from tests.fakes.services import SPEC, MemoryTags, Room
from workers.context import JobHandle
from workers.handlers.tag import handle
from workers.handlers.tagging.directory import CHUNK
from workers.runtimes.protocol import Pixels, Vectors

from .pictures import png

Tagged = dict[tuple[str, str], TaggedFile]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    return folder


@pytest.fixture
def room(photos: Path) -> Room:
    return Room(roots={"photos": str(photos)})


def put(folder: Path, *names: str, colour: str = "red") -> None:
    for shade, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(colour, shade % 60))


def run(room: Room, job: JobHandle | None = None, **fields: Any) -> TagOutput:
    input = {"directory": "photos", "labels": ["red", "green", "blue"], "template": "{}", **fields}
    (output,) = handle([TagInput.model_validate(input)], room.context(job or room.job()))
    assert isinstance(output, TagOutput), output
    return output


def encoded(room: Room) -> int:
    return sum(room.model.image_batches)


def counts(output: TagOutput) -> tuple[int, int, int, int]:
    return output.files, output.tagged, output.unchanged, output.failed


def test_every_file_is_tagged_under_its_name(room: Room, photos: Path) -> None:
    put(photos, "b.png", "2024/a.png")
    put(photos, "blue.PNG", colour="blue")
    (photos / "notes.txt").write_text("no picture")
    output = run(room, top_k=1)
    assert counts(output) == (3, 3, 0, 0)
    assert (output.directory, output.images) == ("photos", [])
    assert "3 of 3 files tagged" in output.message
    assert {path: row.tags[0][0] for (_, path), row in room.tags.tagged.items()} == {
        "photos/2024/a.png": "red",
        "photos/b.png": "red",
        "photos/blue.PNG": "blue",
    }
    row = room.tags.tagged["t", "photos/b.png"]
    found = (photos / "b.png").stat()
    assert (row.size, row.mtime_ns) == (found.st_size, found.st_mtime_ns)


def test_a_folder_below_the_root_and_only_that_one(room: Room, photos: Path) -> None:
    put(photos, "a.png", "sub/b.png", "sub/deep/c.png")
    assert counts(run(room, directory="photos/sub", recursive=False)) == (1, 1, 0, 0)
    assert list(room.tags.rows) == [("t", "photos/sub/b.png")]


def test_unchanged_files_are_not_even_read(room: Room, photos: Path) -> None:
    put(photos, "a.png", "b.png")
    run(room)
    (photos / "a.png").write_bytes(b"x" * (photos / "a.png").stat().st_size)  # what nobody can see without reading
    os.utime(photos / "a.png", ns=(1, room.tags.rows["t", "photos/a.png"].mtime_ns or 0))
    assert counts(run(room)) == (2, 0, 2, 0)
    assert encoded(room) == 2


def test_a_touched_file_is_known_by_its_bytes_and_a_changed_one_is_tagged_anew(room: Room, photos: Path) -> None:
    put(photos, "touched.png", "changed.png")
    run(room)
    os.utime(photos / "touched.png", ns=(5, 5))
    put(photos, "changed.png", colour="blue")
    assert counts(run(room)) == (2, 1, 1, 0)
    assert encoded(room) == 3
    assert room.tags.rows["t", "photos/touched.png"].mtime_ns == 5
    assert room.tags.tagged["t", "photos/changed.png"].tags[0][0] == "blue"
    assert counts(run(room)) == (2, 0, 2, 0)


@pytest.mark.parametrize(
    "other",
    [{"labels": ["red"]}, {"template": "a {}"}, {"top_k": 2}, {"min_score": 0.5}, {"multi_label": True}],
)
def test_another_recipe_tags_anew(room: Room, photos: Path, other: dict[str, Any]) -> None:
    put(photos, "a.png")
    run(room)
    assert counts(run(room, **other)) == (1, 1, 0, 0)
    assert counts(run(room, **other)) == (1, 0, 1, 0)


def test_another_entry_of_the_model_tags_anew_and_other_file_times_do_not(room: Room, photos: Path) -> None:
    put(photos, "a.png")
    run(room)
    room.embedders.seen["fake"] = "as they look on another machine"
    assert counts(run(room)) == (1, 0, 1, 0)
    room.model.spec = room.model.spec.model_copy(update={"revision": "another"})
    assert counts(run(room)) == (1, 1, 0, 0)


def test_an_earlier_job_that_runs_later_does_not_win(room: Room, photos: Path) -> None:
    put(photos, "a.png")
    run(room)
    early, late = room.job(), room.job()
    assert run(room, late).unchanged == 1, "nothing to do, but the order counts"
    assert counts(run(room, early, labels=["blue"])) == (1, 0, 1, 0)
    assert room.tags.tagged["t", "photos/a.png"].tags[0][0] == "red"


def test_a_job_whose_files_an_earlier_one_tags_otherwise_meanwhile_looks_again(photos: Path) -> None:
    put(photos, "a.png", "b.png")

    class Rivalled(MemoryTags):
        rival: JobHandle | None = None

        def confirm(self, files: Any, tagging: Tagging, *, recipe: str) -> set[str]:
            if rival := self.rival:
                self.rival = None
                assert run(room, rival, labels=["blue"]).tagged == 2
            return super().confirm(files, tagging, recipe=recipe)

    tags = Rivalled()
    room = Room(roots={"photos": str(photos)}, tags=tags)
    run(room)
    tags.rival, late = room.job(), room.job()
    input = TagInput.model_validate({"directory": "photos", "labels": ["red", "green", "blue"], "template": "{}"})
    (first,) = handle([input], room.context(late))
    assert isinstance(first, PostponedJobError)
    assert counts(run(room, late)) == (2, 2, 0, 0)
    assert tags.tagged["t", "photos/a.png"].tags[0][0] == "red", "the later job wins"


def test_bad_files_are_listed_and_cost_only_themselves(room: Room, photos: Path) -> None:
    put(photos, "good.png", "sub/good.png")
    (photos / "corrupt.png").write_bytes(png()[:40])
    (photos / "text.jpg").write_bytes(b"hello")
    (photos / "out.png").symlink_to("/etc/hostname")
    output = run(room)
    assert counts(output) == (5, 2, 0, 3)
    assert {picture.source: picture.error.code for picture in output.images if picture.error} == {
        "photos/corrupt.png": ErrorCode.IMAGE_CORRUPT,
        "photos/text.jpg": ErrorCode.IMAGE_UNSUPPORTED,
        "photos/out.png": ErrorCode.IMAGE_FORBIDDEN_ADDRESS,
    }
    assert {path for _, path in room.tags.rows} == {"photos/good.png", "photos/sub/good.png"}


def test_a_file_that_vanishes_after_it_was_found(room: Room, photos: Path) -> None:
    put(photos, "a.png", "b.png")

    class Vanishing(MemoryTags):
        def known(self, tenant: str, paths: Any) -> Any:
            (photos / "a.png").unlink()
            return super().known(tenant, paths)

    object.__setattr__(room.services, "tags", Vanishing())
    output = run(room)
    assert counts(output) == (2, 1, 0, 1)
    assert output.images[0].error is not None
    assert output.images[0].error.code == ErrorCode.IMAGE_UNREACHABLE
    assert "not there any more" in output.images[0].error.message


def test_only_the_first_failures_are_listed(room: Room, photos: Path) -> None:
    put(photos, "good.png")
    for number in range(MAX_LISTED_FAILURES + 5):
        (photos / f"{number:05}.png").write_bytes(b"")
    output = run(room)
    assert (output.failed, output.tagged, len(output.images)) == (MAX_LISTED_FAILURES + 5, 1, MAX_LISTED_FAILURES)


def test_a_directory_without_pictures_succeeds_and_says_so(room: Room, photos: Path) -> None:
    (photos / "notes.txt").write_text("x")
    output = run(room)
    assert counts(output) == (0, 0, 0, 0)
    assert output.message.startswith("There are no pictures in photos")


def test_a_directory_of_only_bad_files_fails(room: Room, photos: Path) -> None:
    for name in ("a.png", "b.png"):
        (photos / name).write_bytes(b"text")
    with pytest.raises(AssertionError, match="All 2 entries failed"):
        run(room)


@pytest.mark.parametrize("directory", ["elsewhere", "photos/gone"])
def test_a_directory_that_is_not_there_fails_the_job(room: Room, directory: str) -> None:
    with pytest.raises(PermanentJobError) as refusal:
        run(room, directory=directory)
    assert refusal.value.code is ErrorCode.INVALID_INPUT


def test_tenants_have_folders_and_tags_of_their_own(tmp_path: Path) -> None:
    room = Room(roots={"own": f"{tmp_path}/{{tenant}}"})
    put(tmp_path / "one", "a.png")
    put(tmp_path / "two", "a.png", colour="blue")
    for tenant in ("one", "two"):
        run(room, room.job(tenant=tenant), directory="own")
    assert room.tags.tagged["one", "own/a.png"].tags[0][0] == "red"
    assert room.tags.tagged["two", "own/a.png"].tags[0][0] == "blue"


class StopAfter(MemoryTags):
    """Stops the job once something was written."""

    job: JobHandle
    reason: type[JobStopped]

    def save(self, files: Any, tagging: Tagging, *, model: str, recipe: str) -> None:
        super().save(files, tagging, model=model, recipe=recipe)
        self.job.stop(self.reason)


@pytest.mark.parametrize("reason", [WorkerDraining, JobCanceled, LeaseLost])
def test_a_stopped_job_goes_on_where_it_was(photos: Path, reason: type[JobStopped]) -> None:
    put(photos, *(f"{number:03}.png" for number in range(700)))
    tags = StopAfter()
    room = Room(roots={"photos": str(photos)}, tags=tags)
    tags.job, tags.reason = room.job(), reason
    with pytest.raises(reason):
        run(room, tags.job)
    done = len(tags.rows)
    assert 256 <= done < 700
    before = encoded(room)
    tags.job = room.job()
    tags.reason = LeaseLost
    output = run(room)
    assert output.unchanged == done
    assert output.tagged == 700 - done
    assert encoded(room) == before + 700 - done


class StopWhileLooking(FakeEmbedder):
    """Stops the job as it looks at its first pictures."""

    job: JobHandle
    reason: type[JobStopped]

    def encode_images(self, batch: Pixels) -> Vectors:
        self.job.stop(self.reason)
        return super().encode_images(batch)


@pytest.mark.parametrize(("reason", "written"), [(WorkerDraining, True), (JobCanceled, True), (LeaseLost, False)])
def test_what_was_tagged_before_a_stop_is_written_if_the_job_is_still_ones_own(
    photos: Path, reason: type[JobStopped], written: bool
) -> None:
    put(photos, *(f"{number:03}.png" for number in range(CHUNK // 2)))
    model = StopWhileLooking(SPEC)
    room = Room(model=model, roots={"photos": str(photos)})
    model.job, model.reason = room.job(), reason
    with pytest.raises(reason):
        run(room, model.job)
    assert 0 < encoded(room) < CHUNK // 2
    assert len(room.tags.rows) == (encoded(room) if written else 0)


def test_progress_counts_files(room: Room, photos: Path) -> None:
    put(photos, "a.png", "b.png")
    job = room.job()
    run(room, job)
    report = job.take_report()
    assert (report.fraction, report.message) == (1.0, "2 of 2 files")


def test_files_are_looked_for_only_as_they_are_tagged(photos: Path) -> None:
    """So memory holds some chunks, and never all files."""
    put(photos, "0/0.png")
    for number in range(1, 3_000):
        path = photos / str(number % 10) / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        os.link(photos / "0" / "0.png", path)
    ahead: list[int] = []
    unwritten: list[int] = []

    class Watched(MemoryTags):
        looked_at = 0

        def known(self, tenant: str, paths: Any) -> Any:
            self.looked_at += len(paths)
            ahead.append(self.looked_at - encoded(room))
            return super().known(tenant, paths)

        def save(self, files: Any, tagging: Tagging, *, model: str, recipe: str) -> None:
            unwritten.append(len(files))
            super().save(files, tagging, model=model, recipe=recipe)

    room = Room(roots={"photos": str(photos)}, tags=Watched())
    assert run(room).tagged == 3_000
    assert max(ahead) < 3 * CHUNK
    assert max(unwritten) < 2 * CHUNK
