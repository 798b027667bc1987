"""From `DARKROOM_STORAGE_URL` to a storage."""

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from shared.errors import ConfigurationError
from shared.storage.base import Storage
from shared.storage.local import LocalStorage


def open_storage(url: str) -> Storage:
    """Open the storage that a URL names: `file:///absolute/folder`. Raises ConfigurationError for any other."""
    split = urlsplit(url)
    if split.scheme == "file":
        return LocalStorage(_folder(url))
    if split.scheme == "s3":
        raise ConfigurationError("DARKROOM_STORAGE_URL: s3:// comes later; use file:///an/absolute/folder for now.")
    raise ConfigurationError(f"DARKROOM_STORAGE_URL: {url!r} is no storage; use file:///an/absolute/folder.")


def _folder(url: str) -> Path:
    split = urlsplit(url)
    path = unquote(split.path)
    if split.netloc not in ("", "localhost") or not re.fullmatch(r"/[^\0]+", path) or split.query or split.fragment:
        raise ConfigurationError(f"DARKROOM_STORAGE_URL: {url!r} must be file:// and an absolute folder.")
    return Path(path)
