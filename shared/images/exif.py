"""When a picture was taken, as its EXIF says."""

import re
from datetime import datetime, timedelta, timezone

from PIL import Image

from shared.errors import JobError
from shared.images.decode import DECODER_ERRORS, DecodeLimits, open_picture
from shared.images.formats import PictureFormat, detect_format

_EXIF_IFD = 0x8769
_DATE_TIME_ORIGINAL = 0x9003
_OFFSET_TIME_ORIGINAL = 0x9011
_UNREADABLE: tuple[type[Exception], ...] = (JobError, MemoryError, *DECODER_ERRORS)
_OFFSET = re.compile(r"([+-])(\d{2}):(\d{2})")


def taken_at(data: bytes, limits: DecodeLimits | None = None) -> datetime | None:
    """EXIF DateTimeOriginal, or None where it is missing or makes no sense. Never raises for a bad file.

    Aware when the file also states its offset (OffsetTimeOriginal), else naive: the camera's own clock. Tags and
    formats: CIPA DC-008 (EXIF 2.32), section 4.6.5. Decodes no pixel, so EXIF that a PNG puts behind its pixels is
    not seen.
    """
    try:
        raw = _raw_exif(data, limits or DecodeLimits())
        if not raw:
            return None
        exif = Image.Exif()
        exif.load(raw)
        tags = exif.get_ifd(_EXIF_IFD)
        return _moment(tags.get(_DATE_TIME_ORIGINAL), tags.get(_OFFSET_TIME_ORIGINAL))
    except _UNREADABLE:
        return None


def _raw_exif(data: bytes, limits: DecodeLimits) -> bytes | None:
    if detect_format(data) is PictureFormat.WEBP:
        return _webp_exif(data)
    raw = open_picture(data, limits).info.get("exif")
    return raw if isinstance(raw, bytes) else None


def _webp_exif(data: bytes) -> bytes | None:
    """The EXIF chunk of a WebP, without making a decoder, which would allocate the whole canvas."""
    position = 12
    while position + 8 <= len(data):
        length = int.from_bytes(data[position + 4 : position + 8], "little")
        if data[position : position + 4] == b"EXIF":
            return data[position + 8 : position + 8 + length]
        position += 8 + length + length % 2
    return None


def _moment(text: object, offset: object) -> datetime | None:
    if not isinstance(text, str):
        return None
    moment = datetime.strptime(text.strip("\x00 "), "%Y:%m:%d %H:%M:%S")
    found = _OFFSET.fullmatch(offset.strip("\x00 ")) if isinstance(offset, str) else None
    if found is None:
        return moment
    shift = timedelta(hours=int(found[2]), minutes=int(found[3]))
    return moment.replace(tzinfo=timezone(-shift if found[1] == "-" else shift))
