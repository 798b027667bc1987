"""Files below a named root: found one by one in a stable order, and read without ever leaving the root.

A file that cannot be used costs only itself: it comes as a `BadFile`, or its reading raises. Linked folders are not
followed, so nothing is seen twice and no loop is walked; a linked file is read when its target lies inside the root.
"""

import errno
import os
import stat
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from shared.errors import ErrorCode, PermanentJobError
from shared.roots import MAX_PATH_CHARACTERS, Directory

_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A picture's file as it was when it was found. `size` in bytes; `mtime_ns`: last change."""

    path: Path
    source: str
    """Its name for people and tables: `root/folders/file.jpg`."""
    size: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class BadFile:
    """A file, or a whole folder, that cannot be used, and why."""

    source: str
    error: PermanentJobError


@dataclass(frozen=True, slots=True)
class LocalPicture:
    """A found file as a picture to load (`workers/pictures.py`)."""

    directory: Directory
    found: FoundFile


@dataclass(frozen=True, slots=True)
class _Listing:
    """Names in one folder, sorted."""

    files: list[str]
    folders: list[str]


def walk(directory: Directory, *, recursive: bool = True, extensions: Collection[str]) -> Iterator[FoundFile | BadFile]:
    """Every file with one of `extensions` (lower case, with the dot): a folder's files by name, then its folders.

    Memory holds the names of one folder and of the folders still to be seen.
    """
    for folder, source, names in _folders(directory, recursive, extensions):
        if isinstance(names, BadFile):
            yield names
            continue
        for name in names.files:
            yield _look_at(directory, folder / name, f"{source}/{_readable(name)}")


def count(
    directory: Directory,
    *,
    recursive: bool = True,
    extensions: Collection[str],
    checkpoint: Callable[[], None] = lambda: None,
) -> int:
    """How many entries `walk` will give, without looking at any file: for progress. Files may come and go meanwhile.

    Args:
        checkpoint: called once a folder; what it raises ends the count.
    """
    total = 0
    for _, _, names in _folders(directory, recursive, extensions):
        checkpoint()
        total += 1 if isinstance(names, BadFile) else len(names.files)
    return total


def read(directory: Directory, file: FoundFile, *, max_bytes: int) -> bytes:
    """The bytes of a file inside the directory's root.

    The path is resolved, must lie inside the root, and is then opened folder by folder without following links, so
    that a link that appears meanwhile leads nowhere. The file may have changed since it was found; what is kept of it
    then has the older time, and so it is looked at again.

    Raises:
        PermanentJobError: `image_unreachable` (gone, or not readable), `image_forbidden_address` (a link out of the
            root), `image_unsupported` (no regular file), `image_too_large`.
    """
    try:
        descriptor = _open_below(directory.root, _inside(directory.root, file.path), os.O_NONBLOCK)
        try:
            found = os.fstat(descriptor)
            _check_regular(found)
            data = _read_up_to(descriptor, max_bytes + 1) if found.st_size <= max_bytes else b""
        finally:
            os.close(descriptor)
    except OSError as error:
        raise _unreachable(error) from error
    if max(found.st_size, len(data)) > max_bytes:
        message = f"The file has more than the {max_bytes / 1e6:g} MB that a picture may have."
        raise PermanentJobError(ErrorCode.IMAGE_TOO_LARGE, message)
    return data


def _folders(
    directory: Directory, recursive: bool, extensions: Collection[str]
) -> Iterator[tuple[Path, str, _Listing | BadFile]]:
    endings = tuple(extensions)
    left = [(directory.folder, directory.source)]
    while left:
        folder, source = left.pop()
        try:
            names = _listing(directory.root, folder, source, endings)
        except PermanentJobError as error:
            yield folder, source, BadFile(source, error)
            continue
        yield folder, source, names
        if recursive:
            left += [(folder / name, f"{source}/{_readable(name)}") for name in reversed(names.folders)]


def _listing(root: Path, folder: Path, source: str, endings: tuple[str, ...]) -> _Listing:
    """Opened like a file: a link that has taken the folder's place since its parent was listed shows no names."""
    _check_name(folder.name, source)
    files, folders = [], []
    try:
        descriptor = _open_below(root, folder.relative_to(root).parts, os.O_DIRECTORY)
        try:
            with os.scandir(descriptor) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.name)
                    elif entry.name.lower().endswith(endings) and not _leads_to_folder(entry):
                        files.append(entry.name)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise _unreachable(error, "folder") from error
    return _Listing(sorted(files), sorted(folders))


def _look_at(directory: Directory, path: Path, source: str) -> FoundFile | BadFile:
    try:
        _check_name(path.name, source)
        found = path.lstat()
        if stat.S_ISLNK(found.st_mode):
            found = directory.root.joinpath(*_inside(directory.root, path)).lstat()
        _check_regular(found)
    except PermanentJobError as error:
        return BadFile(source, error)
    except OSError as error:
        return BadFile(source, _unreachable(error))
    return FoundFile(path, source, found.st_size, found.st_mtime_ns)


def _check_name(name: str, source: str) -> None:
    try:
        name.encode()
    except UnicodeEncodeError:
        message = "Its name is not UTF-8. Rename it."
        raise PermanentJobError(ErrorCode.INVALID_INPUT, message) from None
    if len(source) > MAX_PATH_CHARACTERS:
        message = f"Its path has {len(source):,} characters; {MAX_PATH_CHARACTERS:,} can be kept. Shorten names."
        raise PermanentJobError(ErrorCode.INVALID_INPUT, message)


def _readable(name: str) -> str:
    """The name with bytes that are no UTF-8 written out, so that it can be shown and stored."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _inside(root: Path, path: Path) -> tuple[str, ...]:
    """The parts of the resolved path below the root. Raises OSError when it is not there."""
    try:
        resolved = path.resolve(strict=True)
    except RuntimeError:  # a loop of links
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP)) from None
    if not resolved.is_relative_to(root):
        message = "It is a link that leads out of its root. Put the file itself there."
        raise PermanentJobError(ErrorCode.IMAGE_FORBIDDEN_ADDRESS, message)
    return resolved.relative_to(root).parts


def _open_below(root: Path, parts: Sequence[str], flags: int) -> int:
    """Open what `parts` name below the root, none of which may be a link by now.

    Args:
        flags: of the last part: O_DIRECTORY for a folder, O_NONBLOCK for a file (a pipe would wait for a writer).
    """
    at = os.open(root, _OPEN | os.O_DIRECTORY)
    for place, part in enumerate(parts, start=1):
        try:
            below = os.open(part, _OPEN | (flags if place == len(parts) else os.O_DIRECTORY), dir_fd=at)
        finally:
            os.close(at)
        at = below
    return at


def _read_up_to(descriptor: int, count: int) -> bytes:
    parts = []
    while count > 0 and (part := os.read(descriptor, min(count, _CHUNK))):
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def _leads_to_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself, say: looked at again when its turn comes
        return False


def _check_regular(found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise PermanentJobError(ErrorCode.IMAGE_UNSUPPORTED, "It is no regular file.")


def _unreachable(error: OSError, what: str = "file") -> PermanentJobError:
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        message = f"The {what} is not there any more."
    else:
        message = f"The {what} cannot be read: {error.strerror or error}."
    return PermanentJobError(ErrorCode.IMAGE_UNREACHABLE, message)
