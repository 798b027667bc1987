from datetime import datetime, timedelta, timezone

import pytest

from shared.images.exif import taken_at
from tests.fakes import images as fake

MOMENT = datetime(2024, 2, 29, 23, 59, 58)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF"])
def test_date_time_original(kind: str) -> None:
    tags = fake.exif(6, fake.exif_moment(MOMENT))
    assert taken_at(fake.encoded(fake.quarters(), kind, exif=tags)) == MOMENT


@pytest.mark.parametrize(("offset", "minutes"), [("+05:30", 330), ("-08:00", -480), ("+00:00", 0)])
def test_with_an_offset(offset: str, minutes: int) -> None:
    data = fake.encoded(fake.quarters(), "JPEG", exif=fake.exif(1, fake.exif_moment(MOMENT), offset))
    got = taken_at(data)
    assert got == MOMENT.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    assert got.utcoffset() == timedelta(minutes=minutes)


@pytest.mark.parametrize(
    "text", ["0000:00:00 00:00:00", "    :  :     :  :  ", "yesterday", "", "2024-01-01", "9" * 99]
)
def test_junk_is_none(text: str) -> None:
    assert taken_at(fake.encoded(fake.quarters(), "JPEG", exif=fake.exif(1, text))) is None


@pytest.mark.parametrize("offset", ["Z", "+5", "     ", "junk"])
def test_a_junk_offset_leaves_the_naive_moment(offset: str) -> None:
    data = fake.encoded(fake.quarters(), "JPEG", exif=fake.exif(1, fake.exif_moment(MOMENT), offset))
    assert taken_at(data) == MOMENT


def test_an_offset_beyond_a_day_is_none() -> None:
    data = fake.encoded(fake.quarters(), "JPEG", exif=fake.exif(1, fake.exif_moment(MOMENT), "+99:99"))
    assert taken_at(data) is None


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_no_exif_or_no_picture() -> None:
    for kind in ("JPEG", "PNG", "WEBP", "GIF", "HEIC"):
        assert taken_at(fake.encoded(fake.quarters(), kind)) is None
    for data in (b"", b"text", fake.webp_declaring_268_megapixels(), fake.png_declaring(0, 0), b"\xff\xd8\xff\xe1"):
        assert taken_at(data) is None
    for junk in (b"Exif\0\0", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff", b"junk"):
        assert taken_at(fake.encoded(fake.quarters(), "JPEG", exif=junk)) is None
