import contextlib
import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile, ImageOps

from shared.errors import ErrorCode, JobError, PermanentJobError
from shared.images.decode import DecodeLimits, decode, inspect
from shared.images.formats import PictureFormat
from tests.fakes import images as fake

LIMITS = DecodeLimits()
KINDS = ["JPEG", "PNG", "WEBP", "GIF", "AVIF", "HEIC"]
RED, GREEN, BLUE, YELLOW = fake.RED, fake.GREEN, fake.BLUE, fake.YELLOW


def near(image: Image.Image, at: tuple[int, int], colour: tuple[int, ...], by: int = 40) -> bool:
    pixel = image.getpixel(at)
    assert isinstance(pixel, tuple)
    return all(abs(a - b) <= by for a, b in zip(pixel, colour, strict=True))


def refused(data: bytes, code: ErrorCode, limits: DecodeLimits = LIMITS) -> str:
    """Both doors give the same answer; returns what they say."""
    with pytest.raises(PermanentJobError) as caught:
        decode(data, limits)
    assert caught.value.code is code
    return caught.value.message


@pytest.mark.parametrize("kind", KINDS)
def test_each_accepted_format(kind: str) -> None:
    data = fake.encoded(fake.quarters(64, 48), kind)
    image = decode(data, LIMITS)
    assert (image.mode, image.size, image.info) == ("RGB", (64, 48), {})
    for at, colour in {(8, 8): RED, (56, 8): GREEN, (8, 40): BLUE, (56, 40): YELLOW}.items():
        assert near(image, at, colour)
    info = inspect(data, LIMITS)
    assert (info.format, info.media_type) == (PictureFormat(kind.lower()), f"image/{kind.lower()}")
    assert (info.width, info.height) == (64, 48)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_first_frame_of_an_animation(kind: str) -> None:
    assert near(decode(fake.animated(kind), LIMITS), (8, 8), RED, 5)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF"])
def test_exif_rotation(kind: str, orientation: int) -> None:
    data = fake.encoded(fake.quarters(64, 48), kind, exif=fake.exif(orientation))
    wanted = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    got = decode(data, LIMITS)
    assert got.size == wanted.size == ((64, 48) if orientation < 5 else (48, 64))
    assert got.tobytes() == wanted.tobytes()


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_damaged_exif_does_not_spoil_the_picture() -> None:
    for junk in (b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0" + bytes(range(200)), b"\xff" * 50):
        data = fake.encoded(fake.quarters(), "JPEG", exif=junk)
        assert decode(data, LIMITS).size == (32, 24)


def test_alpha_lies_over_white() -> None:
    half = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    half.putpixel((1, 1), (0, 0, 0, 255))
    half.putpixel((2, 2), (0, 0, 0, 128))
    for kind in ("PNG", "WEBP"):
        image = decode(fake.encoded(half, kind, **({"lossless": True} if kind == "WEBP" else {})), LIMITS)
        assert [image.getpixel((i, i)) for i in range(3)] == [(255, 255, 255), (0, 0, 0), (127, 127, 127)]


@pytest.mark.parametrize("mode", ["LA", "L", "1", "RGB", "P"])
def test_transparency_of_other_modes(mode: str) -> None:
    if mode == "LA":
        data = fake.encoded(Image.new("LA", (4, 4), (0, 0)), "PNG")
    else:
        zero: object = (0, 0, 0) if mode == "RGB" else 0
        data = fake.encoded(Image.new(mode, (4, 4), 0), "PNG", transparency=zero)
    assert decode(data, LIMITS).getpixel((0, 0)) == (255, 255, 255)


def test_palette_with_alpha_for_each_colour() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putpixel((1, 0), 1)
    got = decode(fake.encoded(image, "PNG", transparency=b"\x00\xff"), LIMITS)
    assert [got.getpixel((x, 0)) for x in (0, 1)] == [(255, 255, 255), BLUE]


def test_transparent_gif() -> None:
    image = Image.new("P", (8, 8), 0)
    image.putpalette([255, 0, 0, 0, 0, 255])
    assert decode(fake.encoded(image, "GIF", transparency=0), LIMITS).getpixel((0, 0)) == (255, 255, 255)


def test_16_bit_grey_keeps_its_high_byte() -> None:
    image = decode(fake.grey_16_bit(), LIMITS)
    assert np.asarray(image)[..., 0].tolist() == [[0, 64], [128, 255]]


def test_cmyk() -> None:
    data = fake.encoded(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG", quality=95)
    assert near(decode(data, LIMITS), (8, 8), RED)


def test_grey_and_bilevel() -> None:
    assert decode(fake.encoded(Image.new("L", (3, 3), 77), "PNG"), LIMITS).getpixel((1, 1)) == (77, 77, 77)
    assert decode(fake.encoded(Image.new("1", (3, 3), 1), "PNG"), LIMITS).getpixel((1, 1)) == (255, 255, 255)


def test_one_pixel() -> None:
    assert decode(fake.encoded(Image.new("RGB", (1, 1), RED), "PNG"), LIMITS).getpixel((0, 0)) == RED


@pytest.mark.parametrize(
    ("size", "min_side", "wanted"),
    [((1024, 768), 64, (171, 128)), ((1024, 768), 224, (1024, 768)), ((900, 2000), 224, (450, 1000))],
)
def test_min_side_reduces_a_jpeg(size: tuple[int, int], min_side: int, wanted: tuple[int, int]) -> None:
    data = fake.encoded(fake.quarters(*size), "JPEG")
    got = decode(data, LIMITS, min_side=min_side)
    assert got.size == wanted or min(got.size) >= 2 * min_side
    assert abs(got.width / got.height - size[0] / size[1]) < 0.02
    full = np.asarray(decode(data, LIMITS).resize((64, 64)), float)
    assert np.abs(full - np.asarray(got.resize((64, 64)), float)).mean() < 3


def test_min_side_counts_on_a_large_jpeg_only() -> None:
    assert decode(fake.encoded(fake.noise(2048, 1536), "JPEG"), LIMITS, min_side=224).size == (1024, 768)
    assert decode(fake.encoded(fake.noise(300, 200), "JPEG"), LIMITS, min_side=224).size == (300, 200)
    assert decode(fake.encoded(fake.noise(900, 900), "PNG"), LIMITS, min_side=64).size == (900, 900)


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"just some text\n", "text"),
        (b"<!DOCTYPE html><html></html>", "web page"),
        (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"></svg>', "SVG"),
        (b"\x00\x00\x01\x00\x01\x00\x10\x10" + b"\0" * 60, "ICO"),
        (fake.encoded(fake.quarters(), "TIFF"), "TIFF"),
        (fake.encoded(fake.quarters(), "BMP"), "BMP"),
        (b"8BPS\x00\x01" + b"\0" * 30, "Photoshop"),
        (b"%PDF-1.7\n", "PDF"),
        (b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom", "video"),
        (b"\x00\xff\x17\x80garbage", "no known"),
    ],
)
def test_what_is_not_accepted(data: bytes, word: str) -> None:
    message = refused(data, ErrorCode.IMAGE_UNSUPPORTED)
    assert word in message
    with pytest.raises(PermanentJobError):
        inspect(data, LIMITS)


def test_an_empty_file() -> None:
    assert "empty" in refused(b"", ErrorCode.IMAGE_CORRUPT)


def test_a_real_icon_with_a_picture_in_it() -> None:
    refused(fake.encoded(fake.noise(), "ICO"), ErrorCode.IMAGE_UNSUPPORTED)


@pytest.mark.parametrize("kind", KINDS)
def test_truncated_files(kind: str) -> None:
    data = fake.encoded(fake.noise(), kind)
    for share in (0.1, 0.3, 0.5, 0.7, 0.9, 0.98):
        refused(data[: int(len(data) * share)], ErrorCode.IMAGE_CORRUPT)
    refused(fake.encoded(fake.noise(), "JPEG", progressive=True)[:-40], ErrorCode.IMAGE_CORRUPT)


@pytest.mark.parametrize(
    "data",
    [
        fake.webp_declaring_268_megapixels(),
        fake.png_declaring(1, 39_000_000),
        fake.png_declaring(65_501, 1),
        fake.png_declaring(50_000, 50_000),
        fake.png_declaring(2_000_000_000, 2_000_000_000),
        fake.scan_bomb(101),
        fake.encoded(Image.new("L", (50_000, 801)), "PNG"),
    ],
    ids=["webp", "thin", "side", "square", "huge", "scans", "wide"],
)
def test_bombs_are_refused_before_any_pixel(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(picture: ImageFile.ImageFile) -> None:
        pytest.fail("pixels were decoded")

    monkeypatch.setattr(ImageFile.ImageFile, "load", load)
    assert len(data) < 50_000
    refused(data, ErrorCode.IMAGE_TOO_LARGE)
    with pytest.raises(PermanentJobError) as caught:
        inspect(data, LIMITS)
    assert caught.value.code is ErrorCode.IMAGE_TOO_LARGE


def test_limits_are_inclusive() -> None:
    data = fake.encoded(Image.new("L", (50, 20)), "PNG")
    assert decode(data, DecodeLimits(max_pixels=1000, max_side=50)).size == (50, 20)
    refused(data, ErrorCode.IMAGE_TOO_LARGE, DecodeLimits(max_pixels=999))
    refused(data, ErrorCode.IMAGE_TOO_LARGE, DecodeLimits(max_side=49))
    assert decode(fake.encoded(Image.new("L", (50_000, 10)), "PNG"), LIMITS).size == (50_000, 10)


def test_a_progressive_jpeg_within_the_cap() -> None:
    assert decode(fake.scan_bomb(50), LIMITS).size == (64, 64)


def test_scan_marks_outside_the_picture_do_not_count() -> None:
    data = fake.encoded(fake.quarters(), "JPEG", comment=b"\xff\xda" * 500)
    assert decode(data + b"\xff\xda" * 500, LIMITS).size == (32, 24)


def test_scans_hide_nowhere() -> None:
    """Fill bytes, restart markers and odd segments between scans do not end the count."""
    base = fake.scan_bomb(0)
    last = base[base.rindex(b"\xff\xda") : -2]
    for between in (b"\xff\xff\xff", b"\xff\xd0", b"\xff\xfe\x00\x04\xff\xd9", b"\xff\xfe\x00\x02", b"junk"):
        refused(base[:-2] + (between + last) * 150 + base[-2:], ErrorCode.IMAGE_TOO_LARGE)


def test_no_size_is_corrupt() -> None:
    refused(fake.png_declaring(0, 10), ErrorCode.IMAGE_CORRUPT)


def test_a_webp_without_a_header() -> None:
    refused(b"RIFF\x10\0\0\0WEBPVP8X\0\0\0\0", ErrorCode.IMAGE_CORRUPT)


def test_out_of_memory_is_retryable(monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", exhausted)
    with pytest.raises(JobError) as caught:
        decode(fake.encoded(fake.quarters(), "GIF"), LIMITS)
    assert (caught.value.code, caught.value.retryable) == (ErrorCode.OUT_OF_MEMORY, True)


def test_many_threads_at_once() -> None:
    files = [fake.encoded(fake.noise(), kind) for kind in KINDS] + [b"text", fake.webp_declaring_268_megapixels()]

    def attempt(data: bytes) -> object:
        try:
            return decode(data, LIMITS).tobytes()
        except JobError as error:
            return error.code

    alone = [attempt(data) for data in files]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(attempt, files * 8)) == alone * 8


def _survives(data: bytes) -> None:
    """Whatever comes in, a picture or a JobError comes out."""
    for door in (decode, inspect):
        call: Callable[[bytes, DecodeLimits], object] = door
        with contextlib.suppress(JobError):
            call(data, DecodeLimits(max_pixels=1_000_000))


_fuzz = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), database=None)


@_fuzz
@given(st.binary(max_size=400), st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"RIFF"]))
def test_fuzz_random_bytes(tail: bytes, magic: bytes) -> None:
    _survives(magic + tail)


_SEEDS = [fake.encoded(fake.noise(24, 16), kind) for kind in KINDS]
_SEEDS += [fake.scan_bomb(0, 16, 16), fake.animated("GIF"), fake.animated("WEBP"), fake.animated("PNG")]
_SEEDS += [fake.encoded(fake.quarters(), kind, exif=fake.exif(6, "2024:01:01 00:00:00")) for kind in ("JPEG", "PNG")]


@_fuzz
@given(
    st.sampled_from(_SEEDS),
    st.lists(st.tuples(st.integers(0, 5000), st.binary(min_size=1, max_size=4)), min_size=1, max_size=6),
    st.integers(0, 3),
)
def test_fuzz_damaged_pictures(seed: bytes, patches: list[tuple[int, bytes]], cut: int) -> None:
    data = bytearray(seed)
    for at, patch in patches:
        at %= len(data)
        data[at : at + len(patch)] = patch
    _survives(bytes(data[: len(data) - cut * len(data) // 8]))
