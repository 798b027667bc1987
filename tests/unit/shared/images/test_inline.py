import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import ErrorCode, PermanentJobError
from shared.images.inline import InlinePicture, decode_inline


def refused(text: str, max_bytes: int = 1000) -> tuple[ErrorCode, str]:
    with pytest.raises(PermanentJobError) as caught:
        decode_inline(text, max_bytes)
    return caught.value.code, caught.value.message


@settings(max_examples=50, deadline=None, database=None)
@given(st.binary(min_size=1, max_size=300))
def test_round_trip(data: bytes) -> None:
    text = base64.b64encode(data).decode()
    assert decode_inline(text, len(data)) == InlinePicture(data, None)
    assert decode_inline(f"data:image/png;base64,{text}", len(data)) == InlinePicture(data, "image/png")
    assert refused(text, len(data) - 1)[0] is ErrorCode.IMAGE_TOO_LARGE


def test_headers_of_data_uris() -> None:
    assert decode_inline("data:;base64,aGk=", 10) == InlinePicture(b"hi", None)
    assert decode_inline("DATA:Image/JPEG;name=x;BASE64,aGk=", 10) == InlinePicture(b"hi", "image/jpeg")


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "empty"),
        ("data:image/png;base64,", "empty"),
        ("data:image/png,hello", "not base64"),
        ("data:image/png;base64", "comma"),
        ("data:" + "x" * 500 + ";base64,aGk=", "comma"),
        ("aGk=\n", "line breaks"),
        ("aG k=", "spaces"),
        ("_-8=", "URL-safe"),
        ("aGk%3D", "percent"),
        ("aGk", "padding"),
        ("aGk==", "padding"),
        ("aGk=aGk=", "not base64"),
        ("äöü=", "not base64"),
        ("====", "not base64"),
        ("http://x/y.png?", "not base64"),
    ],
)
def test_what_is_not_strict_base64(text: str, word: str) -> None:
    code, message = refused(text)
    assert code is ErrorCode.INVALID_INPUT
    assert word in message


def test_size_is_checked_before_decoding() -> None:
    assert refused("!" * 2000, 1000)[0] is ErrorCode.IMAGE_TOO_LARGE
    assert refused("data:image/png;base64," + "!" * 2000, 1000)[0] is ErrorCode.IMAGE_TOO_LARGE
