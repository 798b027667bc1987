"""Fingerprints: what stays the same under which change of a picture."""

from datetime import datetime
from pathlib import Path

import imagehash
import numpy as np
import pytest
from PIL import Image

from shared.images.decode import DecodeLimits, decode
from shared.images.fingerprint import Fingerprint
from shared.images.fingerprinting import WHOLE_PIXELS, fingerprints_of, sketch_of
from tests.fakes.images import encoded, exif, exif_moment, quarters
from workers.duplicates.grouping import MIN_DETAIL

CATALOGUE = Path(__file__).parents[4] / "models" / "catalogue" / "pictures"
LIMITS = DecodeLimits()


def taken(data: bytes, **options: int) -> Fingerprint:
    (found,) = fingerprints_of([sketch_of(decode(data, LIMITS, **options), data, LIMITS)])
    return found


def drawing(name: str = "banana") -> Image.Image:
    return decode((CATALOGUE / f"{name}.webp").read_bytes(), LIMITS)


def landscape(width: int, height: int) -> Image.Image:
    """Smooth shapes with a little grain, such as a camera makes."""
    random = np.random.default_rng(5)
    coarse = Image.fromarray(random.integers(0, 256, (9, 12, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), dtype=np.int16)
    grain = random.integers(-3, 4, smooth.shape, dtype=np.int16)
    return Image.fromarray((smooth + grain).clip(0, 255).astype(np.uint8))


def bits(one: Fingerprint, other: Fingerprint) -> int:
    return max(
        (int(one.perceptual_hash, 16) ^ int(other.perceptual_hash, 16)).bit_count(),
        (int(one.difference_hash, 16) ^ int(other.difference_hash, 16)).bit_count(),
    )


def test_it_says_what_there_is_to_say() -> None:
    data = encoded(
        quarters(64, 48), "JPEG", exif=exif(taken=exif_moment(datetime(2024, 5, 1, 12, 30)), offset="+02:00")
    )
    found = taken(data)
    assert (found.width, found.height, found.size) == (64, 48, len(data))
    assert found.taken_at == "2024-05-01T12:30:00+02:00"
    assert Fingerprint.from_json(found.to_json()) == found
    assert {len(found.file_hash), len(found.pixel_hash)} == {64}
    assert {len(found.perceptual_hash), len(found.difference_hash)} == {16}


def test_a_lossless_copy_has_the_same_pixels() -> None:
    jpeg = encoded(landscape(320, 200), "JPEG", quality=90)
    copies = [
        encoded(decode(jpeg, LIMITS), kind, **options) for kind, options in (("PNG", {}), ("WEBP", {"lossless": True}))
    ]
    found = [taken(data) for data in (jpeg, *copies)]
    assert len({one.pixel_hash for one in found}) == 1
    assert len({one.file_hash for one in found}) == 3


def test_a_stripped_jpeg_has_the_same_pixels_also_at_a_reduced_scale() -> None:
    picture = landscape(600, 400)
    plain = encoded(picture, "JPEG", quality=88)
    described = encoded(picture, "JPEG", quality=88, exif=exif(taken="2024:05:01 12:30:00"))
    reduced = [taken(data, min_side=64) for data in (plain, described)]
    assert reduced[0].pixel_hash == reduced[1].pixel_hash != taken(plain).pixel_hash
    assert reduced[0].file_hash != reduced[1].file_hash
    assert taken(plain, min_side=64, whole_up_to=600 * 400).pixel_hash == taken(plain).pixel_hash
    assert bits(reduced[0], taken(plain)) <= 2
    assert WHOLE_PIXELS > 1920 * 1080


@pytest.mark.parametrize("name", ["banana", "red-heart", "grinning-face"])
def test_hashes_are_nearly_those_of_imagehash_on_the_whole_picture(name: str) -> None:
    large = drawing(name).resize((1200, 1200), Image.Resampling.BICUBIC)
    found = taken(encoded(large, "PNG"))
    for mine, theirs in (
        (found.perceptual_hash, imagehash.phash(large)),
        (found.difference_hash, imagehash.dhash(large)),
    ):
        assert imagehash.hex_to_hash(mine) - theirs <= 3


def test_small_changes_move_few_bits_and_other_pictures_many() -> None:
    picture = drawing()
    plain = taken(encoded(picture, "PNG"))
    changed = [
        encoded(picture.resize((80, 80), Image.Resampling.LANCZOS), "PNG"),
        encoded(picture, "JPEG", quality=60),
        encoded(picture.crop((4, 4, 156, 156)), "PNG"),
    ]
    assert max(bits(plain, taken(data)) for data in changed) <= 10
    assert bits(plain, taken(encoded(drawing("bicycle"), "PNG"))) > 20


def gradient() -> Image.Image:
    rows = np.repeat(np.linspace(0, 255, 200)[:, None], 200, axis=1).astype(np.uint8)
    return Image.fromarray(rows).convert("RGB")


def hazy() -> Image.Image:
    """What a lens cap lets through."""
    values = np.random.default_rng(3).normal(20, 4, (200, 300, 3))
    return Image.fromarray(values.clip(0, 255).astype(np.uint8))


@pytest.mark.parametrize(
    "blank",
    [Image.new("RGB", (200, 100), "white"), Image.new("RGB", (64, 64)), gradient(), hazy()],
    ids=["white", "black", "gradient", "hazy"],
)
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_blank_pictures_have_no_detail(blank: Image.Image, kind: str) -> None:
    assert taken(encoded(blank, kind)).detail < MIN_DETAIL


def test_drawings_have_detail() -> None:
    assert min(taken(path.read_bytes()).detail for path in sorted(CATALOGUE.iterdir())[::40]) >= MIN_DETAIL


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (3, 2), (2000, 1)], ids=str)
def test_tiny_and_thin_pictures_have_fingerprints(size: tuple[int, int]) -> None:
    assert taken(encoded(Image.new("RGB", size, "red"), "PNG")).width == size[0]
