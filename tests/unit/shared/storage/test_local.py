import io
import os
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from shared.errors import ConfigurationError
from shared.storage import FileMissing, InvalidKey, LocalStorage, Storage, StorageError, open_storage


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


@pytest.fixture
def storage(root: Path) -> Storage:
    return LocalStorage(root)


def files_below(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def test_round_trip(storage: Storage) -> None:
    assert storage.put("t/a/b.bin", b"hello", "image/png") == 5
    assert storage.read("t/a/b.bin") == b"hello"
    assert b"".join(storage.open("t/a/b.bin")) == b"hello"
    assert storage.size("t/a/b.bin") == 5
    assert storage.exists("t/a/b.bin")


@pytest.mark.parametrize(
    "content", [io.BytesIO(b"x" * 700_000), iter([b"x" * 699_999, b"", b"x"])], ids=["file", "chunks"]
)
def test_streams(storage: Storage, content: io.BytesIO | Iterator[bytes]) -> None:
    assert storage.put("t/big", content) == 700_000
    chunks = list(storage.open("t/big"))
    assert b"".join(chunks) == b"x" * 700_000
    assert max(map(len, chunks)) <= 256 * 1024


def test_put_replaces_whole(storage: Storage, root: Path) -> None:
    storage.put("t/a", b"old and long")
    reader = storage.open("t/a")
    storage.put("t/a", b"new")
    assert storage.read("t/a") == b"new"
    assert b"".join(reader) == b"old and long"
    assert files_below(root) == ["t/a"]


def test_an_empty_file(storage: Storage) -> None:
    assert storage.put("t/empty", b"") == 0
    assert storage.read("t/empty") == b""
    assert list(storage.open("t/empty")) == []


def test_missing_files(storage: Storage) -> None:
    storage.put("t/folder/file", b"x")
    for key in ("t/none", "none/none/none", "t/folder", "t/folder/file/below"):
        for call in (storage.read, storage.open, storage.size):
            with pytest.raises(FileMissing, match=key):
                call(key)
        assert not storage.exists(key)
        assert not storage.delete(key)


def test_delete(storage: Storage) -> None:
    storage.put("t/a", b"x")
    assert storage.delete("t/a")
    assert not storage.delete("t/a")
    assert not storage.exists("t/a")


def test_delete_prefix(storage: Storage, root: Path) -> None:
    for key in ("t/jobs/1/1/a", "t/jobs/1/2/b", "t/jobs/1/c", "t/jobs/10/1/a", "t/pictures/a"):
        storage.put(key, b"x")
    (root / "t/jobs/1/.put-left-by-a-crash").write_bytes(b"x")
    assert storage.delete_prefix("t/jobs/1/") == 3
    assert storage.delete_prefix("t/jobs/1/") == 0
    assert storage.delete_prefix("none/at/all/") == 0
    assert storage.delete_prefix("t/pictures/a/") == 0
    assert files_below(root) == ["t/jobs/10/1/a", "t/pictures/a"]
    assert not (root / "t/jobs/1").exists()


@pytest.mark.parametrize("key", ["../out", "/etc/passwd", "a/../../out", "a\0", "", "a/", ".put-x"])
def test_keys_that_lead_out(storage: Storage, key: str) -> None:
    for call in (storage.read, storage.open, storage.size, storage.exists, storage.delete):
        with pytest.raises(InvalidKey):
            call(key)
    with pytest.raises(InvalidKey):
        storage.put(key, b"x")
    with pytest.raises(InvalidKey):
        storage.delete_prefix(f"{key}/")


def test_links_lead_nowhere(storage: Storage, root: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    storage.put("t/kept", b"x")
    (root / "t/folder").symlink_to(outside)
    (root / "t/file").symlink_to(outside / "secret")
    (root / "t/dangling").symlink_to(outside / "new")
    for key in ("t/folder/secret", "t/file", "t/dangling"):
        with pytest.raises(FileMissing):
            storage.read(key)
        assert not storage.exists(key)
    with pytest.raises(StorageError):
        storage.put("t/folder/new", b"x")
    assert not storage.delete("t/folder/secret")
    storage.put("t/file", b"mine")
    storage.put("t/dangling", b"mine")
    assert storage.delete_prefix("t/folder/") == 0
    storage.delete_prefix("t/")
    assert [(p.name, p.read_bytes()) for p in outside.iterdir()] == [("secret", b"secret")]


def test_a_pipe_is_no_file(storage: Storage, root: Path) -> None:
    storage.put("t/a", b"x")
    os.mkfifo(root / "t/pipe")
    with pytest.raises(FileMissing):
        storage.read("t/pipe")


def test_modes(storage: Storage, root: Path) -> None:
    storage.put("t/a/b", b"x")
    for path, mode in {"": 0o700, "t": 0o700, "t/a": 0o700, "t/a/b": 0o600}.items():
        assert stat.S_IMODE((root / path).stat().st_mode) == mode


def test_a_stream_that_breaks_leaves_nothing(storage: Storage, root: Path) -> None:
    def broken() -> Iterator[bytes]:
        yield b"half"
        raise ZeroDivisionError

    storage.put("t/a", b"before")
    with pytest.raises(ZeroDivisionError):
        storage.put("t/a", broken())
    assert storage.read("t/a") == b"before"
    assert files_below(root) == ["t/a"]


def test_a_full_disk(storage: Storage, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="No space left"):
        storage.put("a", b"x")
    assert files_below(root) == []


def test_writers_and_a_reader_at_once(storage: Storage) -> None:
    """A reader sees one whole version, never a mixture."""
    versions = [bytes([n]) * 50_000 for n in range(8)]
    storage.put("t/j/a", versions[0])
    with ThreadPoolExecutor(8) as pool:
        writes = [pool.submit(storage.put, "t/j/a", version) for version in versions * 3]
        for _ in range(30):
            assert storage.read("t/j/a") in versions
        assert {write.result() for write in writes} == {50_000}


def test_many_writers_make_the_same_folder(storage: Storage) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: storage.put(f"a/b/c/d/{n}", b"x"), range(40)))
    assert storage.delete_prefix("a/") == 40


def test_open_storage(tmp_path: Path) -> None:
    folder = tmp_path / "with space"
    storage = open_storage(folder.as_uri())
    storage.put("a", b"x")
    assert (folder / "a").read_bytes() == b"x"
    open_storage(f"file://localhost{tmp_path}/b")


@pytest.mark.parametrize(
    "url", ["s3://bucket/prefix", "", "/a/folder", "file:relative", "file://", "file:///", "file://host/a", "http://x/"]
)
def test_urls_that_are_no_storage(url: str) -> None:
    with pytest.raises(ConfigurationError, match="DARKROOM_STORAGE_URL"):
        open_storage(url)


def test_a_root_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError):
        LocalStorage(tmp_path / "file" / "below")
