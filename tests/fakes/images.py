"""Makers of pictures, honest and hostile ones. All are small files."""

import io
import struct
import zlib
from datetime import datetime

import numpy as np
import pillow_heif
from PIL import Image

ORIENTATION, EXIF_IFD, TAKEN, OFFSET = 0x0112, 0x8769, 0x9003, 0x9011
RED, GREEN, BLUE, YELLOW = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0)


def quarters(width: int = 32, height: int = 24) -> Image.Image:
    """Red | green over blue | yellow: any turn or mirroring shows."""
    image = Image.new("RGB", (width, height), RED)
    image.paste(GREEN, (width // 2, 0, width, height // 2))
    image.paste(BLUE, (0, height // 2, width // 2, height))
    image.paste(YELLOW, (width // 2, height // 2, width, height))
    return image


def noise(width: int = 64, height: int = 48) -> Image.Image:
    values = np.random.default_rng(7).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    """A file of format `kind` as Pillow names it, or HEIC."""
    file = io.BytesIO()
    if kind == "HEIC":
        pillow_heif.from_pillow(image).save(file, quality=90)
    else:
        image.save(file, kind, **options)
    return file.getvalue()


def exif(orientation: int = 1, taken: str | None = None, offset: str | None = None) -> bytes:
    tags = Image.Exif()
    tags[ORIENTATION] = orientation
    inner = tags.get_ifd(EXIF_IFD)
    if taken is not None:
        inner[TAKEN] = taken
    if offset is not None:
        inner[OFFSET] = offset
    return tags.tobytes()


def exif_moment(moment: datetime) -> str:
    return moment.strftime("%Y:%m:%d %H:%M:%S")


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_declaring(width: int, height: int) -> bytes:
    """A PNG whose header declares a size, with next to no pixels behind it."""
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + png_chunk(b"IDAT", zlib.compress(b"\0")) + png_chunk(b"IEND", b"")


def webp_declaring_268_megapixels() -> bytes:
    """40 bytes."""
    side = (16384 - 1).to_bytes(3, "little")
    body = b"WEBP" + b"VP8X" + struct.pack("<I", 10) + b"\0\0\0\0" + side + side
    body += b"VP8L" + struct.pack("<I", 2)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def scan_bomb(scans: int, width: int = 64, height: int = 64) -> bytes:
    """A sound progressive JPEG whose last scan is repeated, so that it has at least `scans` more."""
    data = encoded(Image.new("RGB", (width, height), RED), "JPEG", progressive=True)
    last = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + last * scans + data[-2:]


def grey_16_bit() -> bytes:
    """2x2 PNG, 16 bits of grey: high bytes 0, 64, 128 and 255."""
    values = np.array([[0, 64 << 8], [(128 << 8) + 200, 65535]], dtype=np.uint16)
    return encoded(Image.fromarray(values), "PNG")


def animated(kind: str) -> bytes:
    """Two frames: red, then blue."""
    frames = [Image.new("RGB", (16, 16), colour) for colour in (RED, BLUE)]
    return encoded(frames[0], kind, save_all=True, append_images=frames[1:], duration=50, lossless=True)
