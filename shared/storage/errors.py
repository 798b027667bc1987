"""What can go wrong with stored files."""

from shared.errors import DarkroomError


class StorageError(DarkroomError):
    """The storage could not do it (full disk, no permission, not reachable); a later try may succeed."""


class FileMissing(StorageError):
    """There is no file under this key: it was never stored, or it has expired and was deleted."""

    def __init__(self, key: str) -> None:
        super().__init__(f"no stored file {key!r}")
        self.key = key


class InvalidKey(StorageError):
    """The key is not one that any storage accepts: a mistake of the caller, never worth a retry."""
