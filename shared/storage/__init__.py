"""Stored files: `open_storage` gives what a setting names; `Storage` is the port."""

from shared.storage.base import Content, Storage
from shared.storage.errors import FileMissing, InvalidKey, StorageError
from shared.storage.local import LocalStorage
from shared.storage.opening import open_storage

__all__ = ["Content", "FileMissing", "InvalidKey", "LocalStorage", "Storage", "StorageError", "open_storage"]
