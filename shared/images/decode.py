"""The one safe decode: hostile bytes in, plain RGB pixels out, or an error that costs its own job only.

Formats are told apart here and each goes to its own decoder class, so nothing depends on (or changes) the process-wide
list of Pillow's plugins, and no other format can be reached. Safe to call from many threads at once.
`PIL.ImageFile.LOAD_TRUNCATED_IMAGES` must stay False, its default, for truncated files to be refused.
"""

import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from PIL import Image
from PIL.AvifImagePlugin import AvifImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile
from pillow_heif import HeifImageFile

from shared.errors import ErrorCode, PermanentJobError, RetryableJobError
from shared.images.formats import PictureFormat, detect_format, webp_size
from shared.images.jpeg import scans_exceed
from shared.images.pressure import PixelBudget

DECODER_ERRORS: tuple[type[Exception], ...] = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    BufferError,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    Image.DecompressionBombError,
    struct.error,
    zlib.error,
)
"""What the decoders were seen, or can be read, to raise on bad files."""

_OPENERS: dict[PictureFormat, Callable[[BytesIO], ImageFile]] = {
    PictureFormat.JPEG: JpegImageFile,
    PictureFormat.PNG: PngImageFile,
    PictureFormat.WEBP: WebPImageFile,
    PictureFormat.GIF: GifImageFile,
    PictureFormat.AVIF: AvifImageFile,
    PictureFormat.HEIC: HeifImageFile,
}
_ORIENTATION_TAG = 0x0112
_UPRIGHT: dict[int, Image.Transpose] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_PIXELS = PixelBudget(100_000_000)
# An AVIF may hold far more pixels (up to libavif's own 268 megapixels, some 550 MB) than its container declares, which
# shows only in decoding: so one at a time. Its decoder uses all cores by itself.
_AVIF = threading.Lock()
_WHITE = (255, 255, 255, 255)


@dataclass(frozen=True)
class DecodeLimits:
    """What one picture may cost. Pixels are checked before any is decoded."""

    max_pixels: int = 40_000_000
    max_side: int = 65_500
    """Pixels; the largest side that a JPEG can have."""
    max_scans: int = 100
    """Scans of a JPEG. Real progressive files have 3 to 20; 100 empty ones at 40 MP take about two seconds."""


@dataclass(frozen=True)
class PictureInfo:
    """What a picture's header says. `width` and `height` in pixels as stored, before any EXIF rotation."""

    format: PictureFormat
    media_type: str
    width: int
    height: int


def inspect(data: bytes, limits: DecodeLimits) -> PictureInfo:
    """Read a picture's header only: format and size, within `limits`. Decodes no pixel.

    Raises PermanentJobError: `image_unsupported`, `image_corrupt` or `image_too_large`.
    """
    kind = detect_format(data)
    with _decoder_faults(kind):
        if kind is PictureFormat.WEBP:
            width, height = _webp_size_within(data, limits)
        else:
            width, height = open_picture(data, limits).size
    return PictureInfo(kind, kind.media_type, width, height)


def decode(data: bytes, limits: DecodeLimits, *, min_side: int | None = None, whole_up_to: int = 0) -> Image.Image:
    """Decode a picture (first frame) into upright RGB: EXIF rotation applied, alpha over white, 8 bits a channel.

    `min_side`: side in pixels of the square that a model will see. A JPEG of more than `whole_up_to` pixels may then be
    decoded at 1/2, 1/4 or 1/8 as long as both sides stay at least twice as long, which keeps embeddings at cosine
    >= .9999 to the full decode. The result carries no metadata. Raises PermanentJobError: `image_unsupported`,
    `image_corrupt` or `image_too_large`; RetryableJobError `out_of_memory`.
    """
    kind = detect_format(data)
    with _decoder_faults(kind):
        picture = open_picture(data, limits)
        full = picture.size
        large = picture.width * picture.height > whole_up_to
        if min_side is not None and large and kind is PictureFormat.JPEG:
            picture.draft(None, (2 * min_side, 2 * min_side))
        with _PIXELS.hold(picture.width * picture.height), _AVIF if kind is PictureFormat.AVIF else nullcontext():
            picture.load()
            check_size(picture.size, limits)  # again: a HEIC may have declared another size than its pixels have
            pixels = _rgb(picture) if picture.size == full else _whole_pixels(_rgb(picture), *full)
            return _upright(pixels, _orientation(picture))


def _whole_pixels(picture: Image.Image, width: int, height: int) -> Image.Image:
    """A reduced JPEG without the edge that stands for less than half a pixel: the decoder rounds up, and the stretched
    edge was measured to cost embeddings up to .001 of cosine.
    """
    scale = round(width / picture.width) if width >= height else round(height / picture.height)
    return picture.crop((0, 0, max(1, round(width / scale)), max(1, round(height / scale))))


def open_picture(data: bytes, limits: DecodeLimits) -> ImageFile:
    """Open a picture with its own decoder and check its declared size; pixels stay undecoded.

    Raises JobErrors for what is checked here and, unlike its callers, the decoder's own exceptions.
    """
    kind = detect_format(data)
    if kind is PictureFormat.WEBP:
        _webp_size_within(data, limits)
    if kind is PictureFormat.JPEG and scans_exceed(data, limits.max_scans):
        message = f"The JPEG has more than {limits.max_scans} scans, which no camera or editor writes. Save it anew."
        raise PermanentJobError(ErrorCode.IMAGE_TOO_LARGE, message)
    picture = _OPENERS[kind](BytesIO(data))
    check_size(picture.size, limits)
    return picture


def check_size(size: tuple[int, int], limits: DecodeLimits) -> None:
    """Hold (width, height) against the limits. Raises `image_too_large` or, for no pixels at all, `image_corrupt`."""
    width, height = size
    if width < 1 or height < 1:
        raise PermanentJobError(ErrorCode.IMAGE_CORRUPT, f"The picture has no pixels ({width}x{height}).")
    if max(size) > limits.max_side:
        message = f"The picture is {width}x{height} pixels; a side may have {limits.max_side}. Crop or resize it."
        raise PermanentJobError(ErrorCode.IMAGE_TOO_LARGE, message)
    if width * height > limits.max_pixels:
        message = (
            f"The picture is {width}x{height}, {width * height / 1e6:.1f} megapixels; "
            f"the limit is {limits.max_pixels / 1e6:.1f}. Resize it."
        )
        raise PermanentJobError(ErrorCode.IMAGE_TOO_LARGE, message)


def _webp_size_within(data: bytes, limits: DecodeLimits) -> tuple[int, int]:
    size = webp_size(data)
    if size is None:
        raise PermanentJobError(ErrorCode.IMAGE_CORRUPT, "The WebP has no readable header. Export the picture again.")
    check_size(size, limits)
    return size


@contextmanager
def _decoder_faults(kind: PictureFormat) -> Iterator[None]:
    """Turn whatever a decoder raises into a JobError."""
    try:
        yield
    except MemoryError as error:
        message = "The worker ran out of memory while it decoded the picture."
        raise RetryableJobError(ErrorCode.OUT_OF_MEMORY, message) from error
    except Image.DecompressionBombError as error:
        message = "The picture declares far more pixels than it may have. Resize it."
        raise PermanentJobError(ErrorCode.IMAGE_TOO_LARGE, message) from error
    except DECODER_ERRORS as error:
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        message = f"The {kind.upper()} is damaged or cut short ({reason}). Send the whole file or export it again."
        raise PermanentJobError(ErrorCode.IMAGE_CORRUPT, message) from error


def _rgb(picture: Image.Image) -> Image.Image:
    """Plain RGB without metadata; what is transparent becomes white."""
    if picture.mode.startswith("I;16"):
        plain = _from_16_bit(picture)
    elif picture.has_transparency_data:
        colour = picture.convert("RGBA")
        plain = Image.alpha_composite(Image.new("RGBA", colour.size, _WHITE), colour).convert("RGB")
    else:
        plain = picture.convert("RGB")
    plain.info = {}
    return plain


def _from_16_bit(picture: Image.Image) -> Image.Image:
    """Keep the high byte, as Pillow does for 16-bit colour; its own conversion of 16-bit grey clips at 255."""
    values = np.asarray(picture, dtype=np.uint16)
    grey = (values >> 8).astype(np.uint8)
    transparent = picture.info.get("transparency")
    if isinstance(transparent, int):
        grey[values == transparent] = 255
    return Image.fromarray(grey).convert("RGB")


def _orientation(picture: Image.Image) -> int:
    """EXIF orientation 1 to 8; damaged metadata does not spoil a sound picture, so it counts as upright."""
    try:
        return int(picture.getexif().get(_ORIENTATION_TAG, 1))
    except DECODER_ERRORS:
        return 1


def _upright(picture: Image.Image, orientation: int) -> Image.Image:
    turn = _UPRIGHT.get(orientation)
    return picture if turn is None else picture.transpose(turn)
