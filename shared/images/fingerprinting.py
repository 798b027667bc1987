"""Fingerprints of decoded pictures. For workers: the front never loads what this imports."""

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
_REDUCING_GAP = 2.0
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


def fingerprint_of(image: Image, data: bytes, limits: DecodeLimits, *, sha256: str | None = None) -> Fingerprint:
    """The fingerprint of a picture.

    Args:
        image: upright RGB pixels, as `decode` makes them of `data`.
        data: the file.
        sha256: the file's hash, where it is known already.
    """
    declared = inspect(data, limits)
    small = _thumbnail(image)
    taken = taken_at(data, limits) if any(mark in data for mark in _EXIF_MARKS) else None
    return Fingerprint(
        file_hash=sha256 or file_hash(data),
        pixel_hash=pixel_hash(image),
        perceptual_hash=_hex(imagehash.phash(small)),
        difference_hash=_hex(imagehash.dhash(small)),
        width=declared.width,
        height=declared.height,
        size=len(data),
        taken_at=taken.isoformat() if taken else None,
        detail=_detail(small),
    )


def _thumbnail(image: Image) -> Image:
    """32 x 32 grey pixels, on which imagehash's own resize has nothing left to do (its dHash little)."""
    factor = min(image.size) // _THUMBNAIL_SIDE
    if factor > 1:
        image = image.reduce(factor)
    return image.convert("L").resize((_SIDE, _SIDE), Resampling.LANCZOS, reducing_gap=_REDUCING_GAP)


def _hex(hashed: imagehash.ImageHash) -> str:
    """Its 64 bits row by row, as `str` writes them."""
    return np.packbits(hashed.hash).tobytes().hex()


def _detail(small: Image) -> int:
    """Coefficients of the pHash that differ from their median, which makes the bits, by more than noise."""
    low = _COSINES @ np.asarray(small, dtype=np.float32) @ _COSINES.T
    return int(np.count_nonzero(np.abs(low - np.median(low)) > _NOISE))
