"""Copies of the catalogue's pictures that were changed in known ways, to measure what finds them again."""

from collections.abc import Callable, Mapping
from io import BytesIO
from typing import Any

from PIL import Image, ImageDraw, ImageFont

WHITE = (255, 255, 255)
Change = Callable[[Image.Image], bytes]


def _png(picture: Image.Image) -> bytes:
    return _encoded(picture, "PNG", compress_level=1)


def _encoded(picture: Image.Image, kind: str, **options: Any) -> bytes:
    file = BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def _resized(times: float) -> Change:
    def change(picture: Image.Image) -> bytes:
        size = (round(picture.width * times), round(picture.height * times))
        return _png(picture.resize(size, Image.Resampling.LANCZOS))

    return change


def _jpeg(quality: int) -> Change:
    return lambda picture: _encoded(picture, "JPEG", quality=quality)


def _cropped(left: float, top: float, right: float, bottom: float) -> Change:
    """Shares of the sides that are cut off."""

    def change(picture: Image.Image) -> bytes:
        width, height = picture.size
        box = (width * left, height * top, width * (1 - right), height * (1 - bottom))
        return _png(picture.crop((round(box[0]), round(box[1]), round(box[2]), round(box[3]))))

    return change


def _watermarked(picture: Image.Image) -> bytes:
    over = Image.new("RGBA", picture.size, (0, 0, 0, 0))
    place = (picture.width * 0.45, picture.height * 0.85)
    font = ImageFont.load_default(max(8, picture.height // 10))
    ImageDraw.Draw(over).text(place, "© darkroom", fill=(80, 80, 80, 160), font=font)
    return _png(Image.alpha_composite(picture.convert("RGBA"), over).convert("RGB"))


def _turned(degrees: float) -> Change:
    return lambda picture: _png(picture.rotate(degrees, Image.Resampling.BICUBIC, fillcolor=WHITE))


def _mirrored(picture: Image.Image) -> bytes:
    return _png(picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT))


CHANGES: Mapping[str, Change] = {
    "converted to PNG": _png,
    "resized to a half": _resized(0.5),
    "resized to the double": _resized(2),
    "JPEG quality 90": _jpeg(90),
    "JPEG quality 75": _jpeg(75),
    "JPEG quality 60": _jpeg(60),
    "cropped by 5 %, centred": _cropped(0.025, 0.025, 0.025, 0.025),
    "cropped by 5 %, one corner": _cropped(0.05, 0.05, 0, 0),
    "watermarked": _watermarked,
    "rotated by 2 degrees": _turned(2),
    "rotated by 90 degrees": _turned(90),
    "mirrored": _mirrored,
}
"""What is done to an upright RGB picture, to the file that comes of it."""
