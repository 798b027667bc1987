"""The port to stored files. `shared/storage/local.py` is a folder."""

from collections.abc import Iterable, Iterator
from typing import Protocol

CHUNK_BYTES = 256 * 1024


class Readable(Protocol):
    """The part of an open binary file that storing needs."""

    def read(self, size: int, /) -> bytes: ...


Content = bytes | Readable | Iterable[bytes]
"""Whole bytes, an open binary file, or chunks."""


class Storage(Protocol):
    """Files by key (`shared/storage/keys.py`). Every method raises InvalidKey and StorageError besides its own.

    A file appears whole or not at all, and `put` replaces. Safe to use from many threads and processes.
    """

    def put(self, key: str, data: Content, content_type: str | None = None) -> int:
        """Store a file, durably when this returns. Returns its size in bytes."""
        ...

    def open(self, key: str) -> Iterator[bytes]:
        """A file in chunks of at most 256 kB. Raises FileMissing at once, not at the first chunk."""
        ...

    def read(self, key: str) -> bytes:
        """A whole file. Raises FileMissing."""
        ...

    def size(self, key: str) -> int:
        """A file's size in bytes. Raises FileMissing."""
        ...

    def exists(self, key: str) -> bool: ...

    def delete(self, key: str) -> bool:
        """Delete a file; one that is not there is no error. Returns whether there was one."""
        ...

    def delete_prefix(self, prefix: str) -> int:
        """Delete every file whose key starts with `prefix`, which ends in a slash. Returns how many."""
        ...


def chunks_of(data: Content) -> Iterator[bytes]:
    """Any content as chunks."""
    if isinstance(data, bytes):
        yield data
    elif isinstance(data, Iterable) and not hasattr(data, "read"):
        yield from data
    else:
        while chunk := data.read(CHUNK_BYTES):
            yield chunk
