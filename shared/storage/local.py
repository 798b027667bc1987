"""Stored files in a folder: for one machine, or for a file system that all machines mount."""

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from shared.storage.base import CHUNK_BYTES, Content, chunks_of
from shared.storage.errors import FileMissing, StorageError
from shared.storage.keys import checked_key, checked_prefix

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_TEMPORARY = ".put-"  # no key starts a name with a dot
_TRIES = 5
_NO_FILE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP})  # a link counts as no file


class LocalStorage:
    """A folder of files. Implements `Storage`.

    Folders are walked name by name without following links, so nothing outside the root can be reached, not even by
    a link that appears while a file is being opened. Files have mode 600 and folders 700. Content types are not kept:
    the row that refers to a file knows its type.
    """

    def __init__(self, root: Path) -> None:
        """Make the root folder where it is missing. Raises StorageError."""
        self.root = root.absolute()
        with _faults():
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)

    def put(self, key: str, data: Content, content_type: str | None = None) -> int:
        *folders, name = checked_key(key).split("/")
        with _faults(), self._folder(folders, create=True) as folder:
            temporary = f"{_TEMPORARY}{secrets.token_hex(8)}"
            try:
                size = _write(temporary, chunks_of(data), folder)
                os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
            except BaseException:
                with suppress(OSError):
                    os.unlink(temporary, dir_fd=folder)
                raise
            os.fsync(folder)
        return size

    def open(self, key: str) -> Iterator[bytes]:
        return _chunks(self._file(key))

    def read(self, key: str) -> bytes:
        with _faults(), self._file(key) as file:
            return file.read()

    def size(self, key: str) -> int:
        with _faults(), self._file(key) as file:
            return os.fstat(file.fileno()).st_size

    def exists(self, key: str) -> bool:
        try:
            self._file(key).close()
        except FileMissing:
            return False
        return True

    def delete(self, key: str) -> bool:
        *folders, name = checked_key(key).split("/")
        with _faults():
            try:
                with self._folder(folders) as folder:
                    os.unlink(name, dir_fd=folder)
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                return False
        return True

    def delete_prefix(self, prefix: str) -> int:
        *above, name = checked_prefix(prefix)[:-1].split("/")
        with _faults():
            try:
                with self._folder(above) as folder:
                    return _delete_tree(name, folder)
            except (FileNotFoundError, NotADirectoryError):
                return 0

    def _file(self, key: str) -> BinaryIO:
        *folders, name = checked_key(key).split("/")
        with _faults():
            try:
                with self._folder(folders) as folder:
                    file = os.fdopen(os.open(name, _READ, dir_fd=folder), "rb")
            except OSError as error:
                if error.errno in _NO_FILE:
                    raise FileMissing(key) from error
                raise
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            file.close()
            raise FileMissing(key)
        return file

    @contextmanager
    def _folder(self, names: list[str], *, create: bool = False) -> Iterator[int]:
        """A descriptor of the folder `names` below the root. Raises OSError for a missing one, or for a link."""
        folder = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for name in names:
                below = _enter(name, folder, create)
                os.close(folder)
                folder = below
            yield folder
        finally:
            os.close(folder)


def _enter(name: str, folder: int, create: bool) -> int:
    for _ in range(_TRIES if create else 0):
        try:
            return os.open(name, _FOLDER, dir_fd=folder)
        except FileNotFoundError:
            with suppress(FileExistsError):
                os.mkdir(name, 0o700, dir_fd=folder)
                os.fsync(folder)
    return os.open(name, _FOLDER, dir_fd=folder)


def _write(name: str, chunks: Iterator[bytes], folder: int) -> int:
    size = 0
    with os.fdopen(os.open(name, _CREATE, 0o600, dir_fd=folder), "wb") as file:
        for chunk in chunks:
            size += file.write(chunk)
        file.flush()
        os.fsync(file.fileno())
    return size


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    with _faults(), file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk


def _delete_tree(name: str, parent: int) -> int:
    """Delete a folder and all below it, links themselves and not what they point to. Returns the number of files."""
    folder = os.open(name, _FOLDER, dir_fd=parent)
    count = 0
    try:
        with os.scandir(folder) as entries:
            inside = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
        for entry_name, is_folder in inside:
            with suppress(FileNotFoundError):  # another sweeper was faster
                if is_folder:
                    count += _delete_tree(entry_name, folder)
                else:
                    os.unlink(entry_name, dir_fd=folder)
                    count += not entry_name.startswith(_TEMPORARY)
    finally:
        os.close(folder)
    with suppress(OSError):  # a file came in meanwhile: its folder stays
        os.rmdir(name, dir_fd=parent)
    return count


@contextmanager
def _faults() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(f"stored files: {error.strerror or error}") from error
