"""Names and contents of cache entries: keys that say all a value depends on, values that prove they belong to them."""

import hashlib
from collections.abc import Sequence

import orjson

PREFIX = "darkroom:cache:"
MAX_ENTRY_BYTES = 262_144
"""A larger value is not kept. It is also what an output may have to rest in its row."""
_SEAL_BYTES = 16
_NAME_BYTES = 20


def key_of(what: str, parts: Sequence[object]) -> str | None:
    """The key of what depends on `parts` (JSON values) and nothing else; the order of their objects' fields does not
    matter. None where they are nested too deeply to be written.
    """
    try:
        told = orjson.dumps(parts, option=orjson.OPT_SORT_KEYS)
    except TypeError:
        return None
    return f"{PREFIX}{what}:{hashlib.blake2b(told, digest_size=_NAME_BYTES).hexdigest()}"


def seal(key: str, content: bytes) -> bytes:
    """What to keep under `key`: the content behind a digest of both."""
    return _digest(key, content) + content


def unseal(key: str, value: bytes) -> bytes | None:
    """The content, or None for anything that was not sealed under this very key: cut, garbled, moved."""
    content = value[_SEAL_BYTES:]
    return content if value[:_SEAL_BYTES] == _digest(key, content) else None


def _digest(key: str, content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=_SEAL_BYTES, key=key.encode()[-64:]).digest()
