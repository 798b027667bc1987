"""Small pictures for indexing: those of the shipped catalogue, made distinct where the same one is used again."""

import base64
import json
import struct
from functools import cache

from local.settings import REPOSITORY

CATALOGUE = REPOSITORY / "models" / "catalogue"


@cache
def _shipped() -> tuple[bytes, ...]:
    lines = (CATALOGUE / "catalogue.jsonl").read_text().splitlines()
    return tuple((CATALOGUE / json.loads(line)["file"]).read_bytes() for line in lines)


def catalogue_pictures(count: int, *, mark: int = 0) -> list[bytes]:
    """`count` WebP files, all different. Other marks make other files of the same pictures."""
    shipped = _shipped()
    return [_marked(shipped[n % len(shipped)], mark * 1_000_003 + n) for n in range(count)]


def catalogue_subcategories() -> list[str]:
    """What each shipped picture is of, such as `heart`, in their order."""
    return [json.loads(line)["subcategory"] for line in (CATALOGUE / "catalogue.jsonl").read_text().splitlines()]


def _marked(picture: bytes, number: int) -> bytes:
    """The same picture with one more chunk, of a type that decoders skip (WebP container, RIFF header)."""
    body = picture[12:] + b"BNCH" + struct.pack("<IQ", 8, number)
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


def inline(picture: bytes) -> dict[str, str]:
    """As a request carries it."""
    return {"base64": base64.b64encode(picture).decode()}
