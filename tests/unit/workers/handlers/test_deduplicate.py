"""`deduplicate` over collections, lists and directories, with a fake model and a memory vector store."""

import base64
import shutil
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from shared.contracts.deduplicate import DeduplicateInput, DeduplicateOutput
from shared.contracts.index import IndexInput
from shared.errors import ErrorCode, JobCanceled, PermanentJobError, PostponedJobError
from shared.images.decode import DecodeLimits, decode
from shared.vectors.protocol import Page
from tests.fakes.images import encoded, exif
from tests.fakes.services import Room
from tests.fakes.vectors import MemoryVectorStore
from workers.context import JobHandle
from workers.duplicates import neighbours
from workers.duplicates.neighbours import VectorsInMemory
from workers.handlers import deduplicate, index

CATALOGUE = Path(__file__).parents[4] / "models" / "catalogue" / "pictures"
BANANA, BICYCLE = ((CATALOGUE / f"{name}.webp").read_bytes() for name in ("banana", "bicycle"))


def drawing(data: bytes = BANANA) -> Image.Image:
    return decode(data, DecodeLimits())


def small(data: bytes = BANANA, side: int = 100) -> bytes:
    return encoded(drawing(data).resize((side, side), Image.Resampling.LANCZOS), "PNG")


def inline(data: bytes) -> dict[str, str]:
    return {"base64": base64.b64encode(data).decode()}


def run(room: Room, job: JobHandle | None = None, **fields: Any) -> Any:
    return deduplicate.handle([DeduplicateInput.model_validate(fields)], room.context(job or room.job()))[0]


def found(room: Room, **fields: Any) -> DeduplicateOutput:
    output = run(room, **fields)
    assert isinstance(output, DeduplicateOutput), output
    return output


def groups(output: DeduplicateOutput) -> list[tuple[str, list[str]]]:
    assert all(group.keeper == group.members[0].id and group.members[0].distance == 0 for group in output.groups)
    return [(group.kind, [member.id for member in group.members]) for group in output.groups]


def indexed(room: Room, pictures: dict[str, bytes], **payloads: Any) -> None:
    items = [{"id": id, "image": inline(data), "payload": payloads.get(id, {})} for id, data in pictures.items()]
    index.handle([IndexInput.model_validate({"collection": "c", "items": items})], room.context(room.job()))


LIBRARY = {
    "banana": BANANA,
    "banana.png": encoded(drawing(), "PNG"),
    "banana-small": small(),
    "bicycle": BICYCLE,
    "bicycle-small": small(BICYCLE),
    "blank": encoded(Image.new("RGB", (90, 90), "white"), "PNG"),
    "blank-too": encoded(Image.new("RGB", (80, 80), "gray"), "PNG"),
}
EXACT = ("exact", ["banana.png", "banana"])
"""The PNG has more bytes."""
LOOKALIKES = [("perceptual", ["banana.png", "banana-small"]), ("perceptual", ["bicycle", "bicycle-small"])]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    (tmp_path / "inner").mkdir()
    for name, data in LIBRARY.items():
        stem = f"inner/{name}" if "small" in name else name
        (tmp_path / f"{stem.removesuffix('.png')}{'.png' if data[:4] != b'RIFF' else '.webp'}").write_bytes(data)
    return tmp_path


def test_a_collection_has_copies_and_lookalikes() -> None:
    room = Room()
    indexed(room, LIBRARY)
    output = found(room, collection="c")
    assert groups(output) == [EXACT, *LOOKALIKES]
    assert (output.pictures, output.duplicates, output.without_fingerprint) == (7, 3, 0)
    assert output.message == "3 of 7 items in 'c' are duplicates, in 3 groups."
    first = output.groups[0].members[0]
    assert (first.width, first.height, first.size) == (160, 160, len(LIBRARY["banana.png"]))


def test_one_method_alone() -> None:
    room = Room()
    indexed(room, LIBRARY)
    assert groups(found(room, collection="c", method="exact")) == [EXACT]
    assert groups(found(room, collection="c", method="perceptual")) == LOOKALIKES
    strict = found(room, collection="c", method="perceptual", threshold=0)
    assert {member.distance for group in strict.groups for member in group.members} <= {0}


def test_a_filter_chooses_what_is_compared() -> None:
    room = Room()
    indexed(room, LIBRARY, **{"banana": {"shelf": 1}, "banana-small": {"shelf": 1}, "bicycle": {"shelf": 2}})
    output = found(room, collection="c", filter={"shelf": 1}, method=["exact", "perceptual", "semantic"])
    assert groups(output) == [("perceptual", ["banana", "banana-small"])]
    assert output.pictures == 2


def test_items_without_fingerprint_are_counted_and_named() -> None:
    room = Room()
    indexed(room, {"a": BANANA, "b": BANANA})
    collection = room.collections.find("t", "c")
    assert collection is not None
    items = room.vectors._items(collection.ref)
    items["a"] = replace(items["a"], fingerprint=None)
    output = found(room, collection="c", method=["exact", "semantic"])
    assert (groups(output), output.pictures, output.without_fingerprint) == ([], 1, 1)
    assert "1 were indexed before fingerprints were kept" in output.message


def test_an_unknown_collection() -> None:
    output = run(Room(), collection="nothing")
    assert isinstance(output, PermanentJobError)
    assert output.code is ErrorCode.COLLECTION_UNKNOWN


class LookedAt(MemoryVectorStore):
    """Does what a test says once its items are read."""

    act: Callable[[], object] = staticmethod(lambda: None)

    def list_items(self, *arguments: Any, **options: Any) -> Page:
        page = super().list_items(*arguments, **options)
        self.act()
        return page


def test_a_collection_that_is_deleted_meanwhile() -> None:
    room = Room(vectors=(vectors := LookedAt()))
    indexed(room, LIBRARY)
    vectors.act = room.collections.rows.clear
    error = run(room, collection="c")
    assert isinstance(error, PermanentJobError)
    assert error.code is ErrorCode.COLLECTION_UNKNOWN


def test_a_collection_whose_vectors_are_replaced_meanwhile_is_compared_again() -> None:
    room = Room(vectors=(vectors := LookedAt()))
    indexed(room, LIBRARY)
    key, row = ("t", "c"), room.collections.rows["t", "c"]
    vectors.act = lambda: room.collections.rows.update({key: replace(row, vectors_id=uuid.uuid4())})
    assert isinstance(run(room, collection="c"), PostponedJobError)


def test_semantic_neighbours_in_a_collection_are_no_copies_of_each_other() -> None:
    room = Room()
    shades = {f"red-{shade}": plain((255 - shade, 0, 0)) for shade in range(3)}
    indexed(room, {**shades, "red-copy": shades["red-0"], "blue": plain((0, 0, 255))})
    for methods in (["semantic"], ["exact", "semantic"]):
        output = found(room, collection="c", method=methods, threshold={"semantic": 0.7})
        semantic = [members for kind, members in groups(output) if kind == "semantic"]
        assert [set(members) for members in semantic] == [{"red-0", "red-1", "red-2"}]
        assert all(0 <= member.distance <= 0.3 for group in output.groups for member in group.members)


def plain(colour: tuple[int, int, int]) -> bytes:
    return encoded(Image.new("RGB", (20, 20), colour), "PNG")


def test_many_copies_do_not_hide_a_neighbour() -> None:
    room = Room()
    copies = {f"copy-{number:03}": plain((255, 0, 0)) for number in range(150)}
    indexed(room, {**copies, "near": plain((250, 0, 0))})
    output = found(room, collection="c", method="semantic", threshold=0.7)
    assert groups(output) == [("semantic", ["copy-000", "near"])]


def test_pictures_of_a_request_go_by_their_place() -> None:
    room = Room()
    images = [inline(data) for data in (BICYCLE, LIBRARY["banana.png"], b"no picture", BANANA, small())]
    output = found(room, images=images)
    assert groups(output) == [("exact", ["images.1", "images.3"]), ("perceptual", ["images.1", "images.4"])]
    assert [(failed.id, failed.code) for failed in output.failed] == [("images.2", ErrorCode.IMAGE_UNSUPPORTED)]
    assert (output.pictures, output.unreadable) == (4, 1)


def test_no_picture_that_can_be_read_fails_the_job() -> None:
    output = run(Room(), images=[inline(b"one"), inline(b"two")])
    assert isinstance(output, PermanentJobError)
    assert output.message.startswith("All 2 entries failed")


def test_a_directory(pictures: Path) -> None:
    (pictures / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no")
    room = Room(roots={"photos": str(pictures)})
    output = found(room, directory="photos")
    assert groups(output) == [
        ("exact", ["photos/banana.png", "photos/banana.webp"]),
        ("perceptual", ["photos/banana.png", "photos/inner/banana-small.png"]),
        ("perceptual", ["photos/bicycle.webp", "photos/inner/bicycle-small.png"]),
    ]
    assert [failed.id for failed in output.failed] == ["photos/broken.jpg"]
    flat = found(room, directory="photos", recursive=False, extensions=[".webp"])
    assert (groups(flat), flat.pictures) == ([], 2)


def test_a_large_jpeg_and_its_lossless_copy_in_a_directory_are_exact(tmp_path: Path) -> None:
    picture = drawing().resize((1700, 1700), Image.Resampling.BICUBIC)
    jpeg = encoded(picture, "JPEG", quality=90, exif=exif(taken="2020:01:02 03:04:05"))
    (tmp_path / "a.jpg").write_bytes(jpeg)
    (tmp_path / "b.png").write_bytes(encoded(decode(jpeg, DecodeLimits()), "PNG", compress_level=1))
    output = found(Room(roots={"photos": str(tmp_path)}), directory="photos", method=["exact", "perceptual"])
    assert [kind for kind, _ in groups(output)] == ["exact"]
    dates = {member.id: member.taken_at for member in output.groups[0].members}
    assert dates == {"photos/a.jpg": "2020-01-02T03:04:05", "photos/b.png": None}


def test_a_directory_without_pictures_says_so(tmp_path: Path) -> None:
    output = found(Room(roots={"photos": str(tmp_path)}), directory="photos")
    assert (output.groups, output.pictures) == ([], 0)
    assert output.message == (
        "There are no pictures in photos (files that end in .jpg, .jpeg, .png, .webp) to compare."
    )


def test_a_directory_of_bad_files_fails(tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no")
    assert isinstance(run(Room(roots={"photos": str(tmp_path)}), directory="photos"), PermanentJobError)


@pytest.mark.parametrize("named", ["else", "photos/none"])
def test_a_directory_that_is_not_there(named: str, tmp_path: Path) -> None:
    output = run(Room(roots={"photos": str(tmp_path)}), directory=named)
    assert isinstance(output, PermanentJobError)
    assert output.code is ErrorCode.INVALID_INPUT


def test_semantic_over_a_directory_uses_the_model_that_is_named(pictures: Path) -> None:
    room = Room(roots={"photos": str(pictures)})
    output = found(room, directory="photos", method=["perceptual", "semantic"], threshold={"semantic": 0.5})
    assert sum(room.model.image_batches) == 7
    kinds = [kind for kind, _ in groups(output)]
    assert kinds == sorted(kinds)
    missing = run(room, directory="photos", method="semantic", model="nothing")
    assert isinstance(missing, PermanentJobError)
    assert missing.code is ErrorCode.MODEL_UNKNOWN


def test_the_model_is_not_asked_for_other_methods(pictures: Path) -> None:
    room = Room(roots={"photos": str(pictures)})
    found(room, directory="photos")
    assert room.model.image_batches == []


def test_it_can_be_canceled(pictures: Path) -> None:
    room = Room(roots={"photos": str(pictures)})
    indexed(room, LIBRARY)
    for fields in ({"directory": "photos"}, {"collection": "c"}, {"images": [inline(BANANA), inline(BICYCLE)]}):
        job = room.job()
        job.stop(JobCanceled)
        assert isinstance(run(room, job, **fields), JobCanceled)


def test_a_file_that_vanishes_is_listed(pictures: Path) -> None:
    class Vanishing(Room):
        def job(self, **options: Any) -> JobHandle:
            shutil.copy(pictures / "blank.png", pictures / "a.png")
            return super().job(**options)

    room = Vanishing(roots={"photos": str(pictures)})
    job = room.job()
    (pictures / "a.png").unlink()
    (pictures / "a.png").symlink_to(pictures / "gone.png")
    output = run(room, job, directory="photos")
    assert [(failed.id, failed.code) for failed in output.failed] == [("photos/a.png", ErrorCode.IMAGE_UNREACHABLE)]


def test_progress_comes_to_its_end() -> None:
    room = Room()
    indexed(room, LIBRARY)
    job = room.job()
    run(room, job, collection="c", method=["exact", "perceptual", "semantic"])
    report = job.take_report()
    assert report.fraction == pytest.approx(1.0)


def test_the_graph_index_finds_what_comparing_all_finds() -> None:
    random = np.random.default_rng(2)
    vectors = random.standard_normal((3_000, 32)).astype(np.float32)
    vectors[2_000:] = vectors[:1_000] + 0.05 * random.standard_normal((1_000, 32)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    near = VectorsInMemory(vectors, 0.95, lambda _: None)

    def pairs(steps: Any) -> set[tuple[int, int]]:
        return {(min(a, b), max(a, b)) for left, right in steps for a, b in zip(left, right, strict=True)}

    exact, graph = pairs(near._all(vectors)), pairs(near._nearest(vectors))
    assert len(exact) >= 1_000
    assert graph <= exact
    assert len(graph) >= 0.99 * len(exact)
    assert len(vectors) < neighbours.EXACT
