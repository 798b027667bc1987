"""Files below a root: every one once, in a stable order; links, bad names and what vanishes cost only themselves."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from shared.errors import ErrorCode, PermanentJobError
from shared.roots import Directory
from workers.directories import BadFile, FoundFile, count, read, walk

EXTENSIONS = (".jpg", ".png")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    return folder


def directory(root: Path) -> Directory:
    return Directory(root, root, "photos")


def put(path: Path, data: bytes = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def sources(root: Path, *, recursive: bool = True) -> list[str]:
    entries = list(walk(directory(root), recursive=recursive, extensions=EXTENSIONS))
    assert count(directory(root), recursive=recursive, extensions=EXTENSIONS) == len(entries)
    return [
        entry.source if isinstance(entry, FoundFile) else f"{entry.source}: {entry.error.code}" for entry in entries
    ]


def only(root: Path) -> FoundFile:
    (found,) = walk(directory(root), extensions=EXTENSIONS)
    assert isinstance(found, FoundFile)
    return found


def test_a_folders_files_come_by_name_then_its_folders(root: Path) -> None:
    for name in ("b.jpg", "a.PNG", "z/1.jpg", "c/2/3.Jpg", "c/1.jpg", "notes.txt", "jpg", "d.jpg/inner.png"):
        put(root / name)
    flat = ["photos/a.PNG", "photos/b.jpg"]
    assert sources(root) == [
        *flat,
        "photos/c/1.jpg",
        "photos/c/2/3.Jpg",
        "photos/d.jpg/inner.png",
        "photos/z/1.jpg",
    ]
    assert sources(root, recursive=False) == flat
    assert sources(root / "z" / "..") == sources(root)


def test_a_file_comes_with_its_size_and_time(root: Path) -> None:
    path = put(root / "a.jpg", b"four")
    os.utime(path, ns=(1, 123_456_789))
    found = only(root)
    assert (found.size, found.mtime_ns) == (4, 123_456_789)
    assert read(directory(root), found, max_bytes=4) == b"four"


def test_links_inside_the_root_are_read_and_those_out_of_it_are_not(root: Path) -> None:
    put(root / "real" / "a.jpg", b"real")
    put(root.parent / "secret.jpg", b"secret")
    (root / "inside.jpg").symlink_to("real/a.jpg")
    (root / "outside.jpg").symlink_to("../secret.jpg")
    (root / "dangling.jpg").symlink_to("nowhere.jpg")
    (root / "itself.jpg").symlink_to("itself.jpg")
    (root / "folder.jpg").symlink_to("real")
    (root / "up").symlink_to("..")
    assert sources(root) == [
        "photos/dangling.jpg: image_unreachable",
        "photos/inside.jpg",
        "photos/itself.jpg: image_unreachable",
        "photos/outside.jpg: image_forbidden_address",
        "photos/real/a.jpg",
    ]
    inside = next(
        entry for entry in walk(directory(root), extensions=EXTENSIONS) if entry.source.endswith("inside.jpg")
    )
    assert isinstance(inside, FoundFile)
    assert read(directory(root), inside, max_bytes=10) == b"real"


def test_a_link_that_takes_a_files_place_meanwhile_leads_nowhere(root: Path) -> None:
    secret = put(root.parent / "secret" / "a.jpg", b"secret")
    put(root / "sub" / "a.jpg")
    found = only(root)
    (root / "sub" / "a.jpg").unlink()
    (root / "sub" / "a.jpg").symlink_to(secret)
    with pytest.raises(PermanentJobError) as refusal:
        read(directory(root), found, max_bytes=10)
    assert refusal.value.code is ErrorCode.IMAGE_FORBIDDEN_ADDRESS
    (root / "sub" / "a.jpg").unlink()
    (root / "sub").rmdir()
    (root / "sub").symlink_to(secret.parent)
    with pytest.raises(PermanentJobError) as refusal:
        read(directory(root), found, max_bytes=10)
    assert refusal.value.code is ErrorCode.IMAGE_FORBIDDEN_ADDRESS


def test_a_link_that_takes_a_folders_place_meanwhile_shows_no_names(root: Path) -> None:
    put(root.parent / "secret" / "a.jpg")
    put(root / "1.jpg")
    put(root / "sub" / "a.jpg")
    entries = walk(directory(root), extensions=EXTENSIONS)
    next(entries)  # the root has been listed, the folder has not
    (root / "sub" / "a.jpg").unlink()
    (root / "sub").rmdir()
    (root / "sub").symlink_to(root.parent / "secret")
    (entry,) = entries
    assert isinstance(entry, BadFile)
    assert (entry.source, entry.error.code) == ("photos/sub", ErrorCode.IMAGE_UNREACHABLE)


def test_what_is_gone_too_large_or_no_file_says_so(root: Path) -> None:
    path = put(root / "a.jpg", b"12345")
    found = only(root)
    with pytest.raises(PermanentJobError) as refusal:
        read(directory(root), found, max_bytes=4)
    assert refusal.value.code is ErrorCode.IMAGE_TOO_LARGE
    path.unlink()
    with pytest.raises(PermanentJobError, match="not there any more"):
        read(directory(root), found, max_bytes=10)
    os.mkfifo(path)
    with pytest.raises(PermanentJobError, match="no regular file"):
        read(directory(root), found, max_bytes=10)
    assert sources(root) == ["photos/a.jpg: image_unsupported"]


@pytest.mark.skipif(not Path("/proc/version").exists(), reason="a file whose size is not told takes /proc")
def test_a_file_with_more_bytes_than_it_said_is_read_no_further_than_is_allowed() -> None:
    found = FoundFile(Path("/proc/version"), "photos/version.jpg", 0, 0)
    assert found.path.stat().st_size == 0
    with pytest.raises(PermanentJobError) as refusal:
        read(directory(Path("/proc")), found, max_bytes=10)
    assert refusal.value.code is ErrorCode.IMAGE_TOO_LARGE


def test_names_that_cannot_be_kept_are_named_readably(root: Path) -> None:
    put(Path(os.fsdecode(os.fsencode(root) + b"/caf\xe9.jpg")))
    put(Path(os.fsdecode(os.fsencode(root) + b"/b\xe4d/a.jpg")))
    deep = root.joinpath(*["d" * 200] * 5)
    put(deep / "a.jpg")
    put(root / "ünï\ncode.jpg")
    found = sources(root)
    assert "photos/caf\\xe9.jpg: invalid_input" in found
    assert "photos/b\\xe4d: invalid_input" in found
    assert "photos/ünï\ncode.jpg" in found
    assert [entry for entry in found if len(entry) > 1_000 and entry.endswith("invalid_input")]
    assert len(found) == 4


def test_a_folder_that_cannot_be_read_is_one_entry(root: Path) -> None:
    put(root / "a.jpg")
    put(root / "closed" / "b.jpg")
    put(root / "z" / "c.jpg")
    with nobody_may_read(root / "closed"):
        assert sources(root) == ["photos/a.jpg", "photos/closed: image_unreachable", "photos/z/c.jpg"]


def test_a_file_that_may_not_be_read_says_so(root: Path) -> None:
    path = put(root / "a.jpg")
    found = only(root)
    with nobody_may_read(path), pytest.raises(PermanentJobError, match="cannot be read: Permission denied"):
        read(directory(root), found, max_bytes=10)


def test_a_count_can_be_stopped(root: Path) -> None:
    put(root / "a" / "b" / "c.jpg")

    def stop() -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        count(directory(root), extensions=EXTENSIONS, checkpoint=stop)


def test_the_walk_looks_at_one_file_at_a_time(root: Path) -> None:
    for number in range(3):
        put(root / f"{number}.jpg")
    entries = walk(directory(root), extensions=EXTENSIONS)
    next(entries)
    (root / "1.jpg").unlink()
    assert [isinstance(entry, BadFile) for entry in entries] == [True, False]


@contextmanager
def nobody_may_read(path: Path) -> Iterator[None]:
    """Also where the tests run as root, who may read everything: as somebody else then."""
    mode = stat.S_IMODE(path.stat().st_mode)
    user = os.geteuid()
    open_to_all = 0o055  # the process keeps its group
    parents = {parent: bits for parent in path.parents if (bits := parent.stat().st_mode) & open_to_all != open_to_all}
    path.chmod(0)
    try:
        if user == 0:
            for parent, bits in parents.items():
                parent.chmod(bits | open_to_all)
            os.seteuid(65_534)
        yield
    finally:
        os.seteuid(user)
        path.chmod(mode)
        if user == 0:
            for parent, bits in parents.items():
                parent.chmod(bits)
