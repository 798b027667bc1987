"""Which picture format a file is, told from its first bytes and never from a name or a content type."""

import codecs
import struct
from enum import StrEnum

from shared.errors import ErrorCode, PermanentJobError

ACCEPTED = "Send a JPEG, PNG, WebP, GIF, AVIF or HEIC file."

_HEIC_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"})
_AVIF_BRANDS = frozenset({b"avif", b"avis"})
_NEUTRAL_BRANDS = frozenset({b"mif1", b"msf1"})
_REFUSED_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"\x00\x00\x01\x00", "an ICO icon"),
    (b"\x00\x00\x02\x00", "a cursor file"),
    (b"II*\x00", "a TIFF picture"),
    (b"MM\x00*", "a TIFF picture"),
    (b"II+\x00", "a BigTIFF picture"),
    (b"MM\x00+", "a BigTIFF picture"),
    (b"8BPS", "a Photoshop document"),
    (b"BM", "a BMP picture"),
    (b"%PDF", "a PDF document"),
    (b"%!PS", "a PostScript document"),
    (b"\xff\x0a", "a JPEG XL picture"),
    (b"\x00\x00\x00\x0cJXL ", "a JPEG XL picture"),
    (b"\x00\x00\x00\x0cjP  ", "a JPEG 2000 picture"),
    (b"\x1f\x8b", "gzip-compressed data"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x1aE\xdf\xa3", "a video"),
)
_SNIFFED_BYTES = 4096


class PictureFormat(StrEnum):
    """The formats that are decoded; everything else is refused."""

    JPEG = "jpeg"
    PNG = "png"
    WEBP = "webp"
    GIF = "gif"
    AVIF = "avif"
    HEIC = "heic"

    @property
    def media_type(self) -> str:
        return f"image/{self.value}"


def detect_format(data: bytes) -> PictureFormat:
    """Tell the format of a file. Raises `image_corrupt` for an empty file and `image_unsupported` for the rest."""
    if not data:
        raise PermanentJobError(ErrorCode.IMAGE_CORRUPT, "The picture is empty (0 bytes). Send the file's content.")
    found = _accepted(data)
    if found is None:
        raise PermanentJobError(ErrorCode.IMAGE_UNSUPPORTED, _refusal(data))
    return found


def _accepted(data: bytes) -> PictureFormat | None:
    if data.startswith(b"\xff\xd8\xff"):
        return PictureFormat.JPEG
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return PictureFormat.PNG
    if data.startswith((b"GIF87a", b"GIF89a")):
        return PictureFormat.GIF
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return PictureFormat.WEBP
    if data[4:8] == b"ftyp":
        return _iso_format(data)
    return None


def _iso_format(data: bytes) -> PictureFormat | None:
    major = data[8:12]
    brands = {major}
    if major in _NEUTRAL_BRANDS:
        end = min(int.from_bytes(data[:4], "big"), len(data), _SNIFFED_BYTES)
        brands |= {data[at : at + 4] for at in range(16, end - 3, 4)}
    if brands & _AVIF_BRANDS:
        return PictureFormat.AVIF
    if brands & _HEIC_BRANDS:
        return PictureFormat.HEIC
    return None


def _refusal(data: bytes) -> str:
    head = data[:_SNIFFED_BYTES]
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if b"<svg" in text and text.startswith(b"<"):
        return "SVG pictures are not accepted, since they are programs to run rather than pixels. Export a PNG."
    if text.startswith((b"<!doctype html", b"<html")):
        return f"The file is a web page, not a picture. Give the address of the picture itself. {ACCEPTED}"
    if data[4:8] == b"ftyp":
        return f"The file is a video or an unknown kind of ISO media file, not a picture. {ACCEPTED}"
    for magic, name in _REFUSED_MAGIC:
        if data.startswith(magic):
            return f"The file is {name}, which is not accepted. {ACCEPTED}"
    if _is_text(head):
        return f"The file is text, not a picture. {ACCEPTED}"
    return f"The file is in no known picture format. {ACCEPTED}"


def _is_text(head: bytes) -> bool:
    try:
        # Incremental, so that a character cut in two at the end does not matter.
        text = codecs.getincrementaldecoder("utf-8")().decode(head[:256])
    except UnicodeDecodeError:
        return False
    return all(character.isprintable() or character in "\r\n\t\f" for character in text)


def webp_size(data: bytes) -> tuple[int, int] | None:
    """(width, height) in pixels that a WebP header declares, or None where there is no header to read.

    Read here because Pillow's decoder allocates the whole canvas as soon as it is made: a 40-byte file may declare
    268 megapixels. Layout: RFC 9649, sections 2.5 to 2.7.
    """
    chunk = data[12:16]
    if chunk == b"VP8X" and len(data) >= 30:
        return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    if chunk == b"VP8L" and len(data) >= 25 and data[20] == 0x2F:
        (bits,) = struct.unpack_from("<I", data, 21)
        return (bits & 0x3FFF) + 1, ((bits >> 14) & 0x3FFF) + 1
    if chunk == b"VP8 " and len(data) >= 30 and data[23:26] == b"\x9d\x01\x2a":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    return None
