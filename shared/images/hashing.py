"""Identities of pictures: of a file's bytes, and of what it shows once decoded."""

import hashlib
from collections.abc import Iterable

from PIL import Image


def file_hash(data: bytes | Iterable[bytes]) -> str:
    """SHA-256 (64 hex digits) of a file's bytes, whole or in chunks."""
    digest = hashlib.sha256()
    for chunk in (data,) if isinstance(data, bytes) else data:
        digest.update(chunk)
    return digest.hexdigest()


STRIP = 64
"""Rows of a picture that are hashed at once."""


def pixel_hash(image: Image.Image) -> str:
    """SHA-256 (64 hex digits) of decoded pixels with their mode and size, so that 2x8 and 4x4 differ."""
    digest = hashlib.sha256(f"{image.mode} {image.width}x{image.height}\n".encode())
    for top in range(0, image.height, STRIP):  # a copy of all of a large picture would be 160 MB
        digest.update(image.crop((0, top, image.width, min(top + STRIP, image.height))).tobytes())
    return digest.hexdigest()
