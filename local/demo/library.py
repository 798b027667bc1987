"""Folders of pictures for the demo's directory jobs, made from the catalogue."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from local.demo.catalogue import Picture

ROOT = "demo"
"""The name that the demo's stack knows the folder by (IMAGE_ROOTS)."""
TAGGED = "library"
COPIED = "copies"
PICTURES = 500
ORIGINALS = 120
COPIES_A_KIND = 20
BROKEN = "2024/01/broken.jpg"
"""A file that is no picture: it has to cost nobody but itself."""
_EXIF_IFD, _DATE_TIME_ORIGINAL = 0x8769, 0x9003


@dataclass(frozen=True)
class Copy:
    """A copy that the demo made. `kind`: how it has to be reported."""

    name: str
    original: str
    kind: str


def write_library(pictures: Sequence[Picture], folder: Path) -> dict[str, str]:
    """500 pictures as JPEGs in folders by month, with that month as their EXIF date, and one that is broken.

    Returns:
        The ids of the pictures by their path within the folder.
    """
    step = len(pictures) / PICTURES
    ids = {}
    for number in range(PICTURES):
        picture = pictures[int(number * step)]
        year, month = 2024 + number % 2, 1 + number % 12
        path = f"{year}/{month:02}/{picture.id}.jpg"
        _write_jpeg(picture.path, folder / path, taken=f"{year}:{month:02}:{1 + number % 28:02} 12:00:00")
        ids[path] = picture.id
    (folder / BROKEN).write_bytes(b"not a picture")
    return ids


def write_copies(pictures: Sequence[Picture], folder: Path) -> list[Copy]:
    """Some pictures as they are, and copies of them: of the file, of its pixels, and smaller ones of less quality."""
    folder.mkdir(parents=True)
    step = len(pictures) // ORIGINALS
    originals = [pictures[number * step] for number in range(ORIGINALS)]
    for picture in originals:
        shutil.copyfile(picture.path, folder / f"{picture.id}.webp")
    copies = []
    for number, picture in enumerate(originals[: 3 * COPIES_A_KIND]):
        make, kind = _COPIES[number % 3]
        name = make(picture, folder)
        copies.append(Copy(name, f"{picture.id}.webp", kind))
    return copies


def _same_file(picture: Picture, folder: Path) -> str:
    name = f"copy-of-{picture.id}.webp"
    shutil.copyfile(picture.path, folder / name)
    return name


def _same_pixels(picture: Picture, folder: Path) -> str:
    name = f"{picture.id}-as.png"
    with Image.open(picture.path) as image:
        image.save(folder / name)
    return name


def _smaller(picture: Picture, folder: Path) -> str:
    name = f"{picture.id}-small.jpg"
    flat = _on_white(picture.path)
    flat.resize((flat.width * 3 // 4, flat.height * 3 // 4), Image.Resampling.LANCZOS).save(folder / name, quality=75)
    return name


_COPIES = ((_same_file, "exact"), (_same_pixels, "exact"), (_smaller, "perceptual"))


def _write_jpeg(source: Path, path: Path, *, taken: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif.get_ifd(_EXIF_IFD)[_DATE_TIME_ORIGINAL] = taken
    _on_white(source).save(path, quality=92, exif=exif)


def _on_white(path: Path) -> Image.Image:
    with Image.open(path) as image:
        painted = image.convert("RGBA")
    ground = Image.new("RGBA", painted.size, "white")
    return Image.alpha_composite(ground, painted).convert("RGB")
