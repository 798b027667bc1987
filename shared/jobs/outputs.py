"""Large outputs rest in storage as compressed JSON; the API unpacks them, so that clients see no difference."""

import gzip
from typing import Any

import orjson

INLINE_OUTPUT_BYTES = 256_000
"""Outputs up to this stay in the job's row."""


def pack(output: Any, *, over: int = INLINE_OUTPUT_BYTES) -> bytes | None:
    """The output as compressed JSON when it is larger than `over` bytes as plain JSON, else None."""
    plain = orjson.dumps(output)
    return gzip.compress(plain, compresslevel=1) if len(plain) > over else None


def unpack(packed: bytes) -> Any:
    return orjson.loads(gzip.decompress(packed))
