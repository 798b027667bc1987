"""Outputs too large for a row: JSON compressed with gzip, stored as a file under the row's `output_key`."""

import gzip
from typing import Any

import orjson

INLINE_OUTPUT_BYTES = 262_144
"""An output up to this many bytes of JSON rests in its row."""
_LEVEL = 1
"""Vectors hardly compress better at higher levels, and cost several times as much."""


def pack(output: Any, *, over: int = -1) -> bytes | None:
    """The output as a compressed file, or None when its JSON has no more than `over` bytes."""
    plain = orjson.dumps(output)
    return gzip.compress(plain, compresslevel=_LEVEL, mtime=0) if len(plain) > over else None


def unpack_json(packed: bytes) -> bytes:
    """The JSON text of a packed output."""
    return gzip.decompress(packed)


def unpack(packed: bytes) -> Any:
    """The output that `pack` was given."""
    return orjson.loads(unpack_json(packed))
