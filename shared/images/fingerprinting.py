"""Fingerprints of decoded pictures. For workers: the front never loads what this imports."""

from collections.abc import Sequence
from dataclasses import dataclass

import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image, Resampling

from shared.images.decode import DecodeLimits, inspect
from shared.images.exif import taken_at
from shared.images.fingerprint import Fingerprint
from shared.images.hashing import file_hash, pixel_hash

WHOLE_PIXELS = 2_100_000
"""A JPEG of up to so many pixels (Full HD) is to be decoded in full although its model needs less, so that its pixels
are those of a copy in another format. Beyond, that would take an index job several times as long a picture."""

_SIDE = 32
"""Pixels: the square that imagehash makes of a picture for its pHash, at 8 bits a side."""
_LOW = 8
_THUMBNAIL_SIDE = 256
"""Pixels of the shorter side, down to which whole factors are averaged first: at 12 megapixels 5 ms instead of 57, and
the hashes stay within 2 bits."""
_REDUCING_GAP = 1.0
"""Of what is left, whole factors again: on the catalogue 1 finds the same copies as 3, in a tenth of the time."""
_NOISE = 4.0
"""Grey levels of an orthonormal DCT: JPEG at quality 60 moves nine coefficients in ten by less than 2.3."""
_EXIF_MARKS = (b"Exif", b"EXIF", b"eXIf")


def _cosines() -> NDArray[np.float32]:
    """The first rows of the orthonormal DCT-II, `(8, 32)`."""
    frequency, position = np.mgrid[0:_LOW, 0:_SIDE]
    rows = np.cos(np.pi * (2 * position + 1) * frequency / (2 * _SIDE)) * np.sqrt(2 / _SIDE)
    rows[0] /= np.sqrt(2)
    return np.asarray(rows, dtype=np.float32)


_COSINES = _cosines()


@dataclass(frozen=True, slots=True)
class Sketch:
    """What is left of a picture's pixels for its fingerprint, and what is known without them."""

    file_hash: str
    pixel_hash: str
    width: int
    height: int
    size: int
    taken_at: str | None
    small: Image
    """32 x 32 grey pixels."""


def sketch_of(image: Image, data: bytes, limits: DecodeLimits, *, sha256: str | None = None) -> Sketch:
    """The part of the work that takes the pixels, nearly all of it without the GIL: for threads.

    Args:
        image: upright RGB pixels, as `decode` makes them of `data`.
        data: the file.
        sha256: the file's hash, where it is known already.
    """
    declared = inspect(data, limits)
    taken = taken_at(data, limits) if any(mark in data for mark in _EXIF_MARKS) else None
    return Sketch(
        file_hash=sha256 or file_hash(data),
        pixel_hash=pixel_hash(image),
        width=declared.width,
        height=declared.height,
        size=len(data),
        taken_at=taken.isoformat() if taken else None,
        small=_thumbnail(image),
    )


def fingerprints_of(sketches: Sequence[Sketch]) -> list[Fingerprint]:
    """The rest, a batch at a time: small steps in Python, which slow each other down on many threads (measured: on 16
    they take four to eight times as long).
    """
    if not sketches:
        return []
    return [
        Fingerprint(
            file_hash=sketch.file_hash,
            pixel_hash=sketch.pixel_hash,
            perceptual_hash=_hex(imagehash.phash(sketch.small)),
            difference_hash=_hex(imagehash.dhash(sketch.small)),
            width=sketch.width,
            height=sketch.height,
            size=sketch.size,
            taken_at=sketch.taken_at,
            detail=detail,
        )
        for sketch, detail in zip(sketches, _details(sketches), strict=True)
    ]


def _thumbnail(image: Image) -> Image:
    """32 x 32 grey pixels, on which imagehash's own resize has nothing left to do (its dHash little)."""
    factor = min(image.size) // _THUMBNAIL_SIDE
    if factor > 1:
        image = image.reduce(factor)
    return image.convert("L").resize((_SIDE, _SIDE), Resampling.LANCZOS, reducing_gap=_REDUCING_GAP)


def _hex(hashed: imagehash.ImageHash) -> str:
    """Its 64 bits row by row, as `str` writes them."""
    return np.packbits(hashed.hash).tobytes().hex()


def _details(sketches: Sequence[Sketch]) -> list[int]:
    """Coefficients of each pHash that differ from their median, which makes the bits, by more than noise."""
    pixels = np.stack([np.asarray(sketch.small, dtype=np.float32) for sketch in sketches])
    low = (_COSINES @ pixels @ _COSINES.T).reshape(len(sketches), -1)
    far = np.abs(low - np.median(low, axis=1, keepdims=True)) > _NOISE
    counts: list[int] = np.count_nonzero(far, axis=1).tolist()
    return counts
