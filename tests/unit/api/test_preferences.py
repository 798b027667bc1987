"""Request headers that say how to answer."""

import pytest
from fastapi import Request

from api.preferences import cancel_after, idempotency_key, wait_seconds
from shared.errors import InvalidInput


def request(**headers: str) -> Request:
    raw = [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in headers.items()]
    return Request({"type": "http", "headers": raw})


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("wait=1", 1),
        ("wait=60", 60),
        ("wait=61", 60),
        ("wait=999999999", 60),
        ("WAIT = 5", 5),
        ('wait="5"', 5),
        ("respond-async, wait=5", 5),
        ("wait=5; foo=bar, handling=lenient", 5),
        ("wait=0", 0),
        ("wait=-1", 0),
        ("wait=1.5", 0),
        ("wait=", 0),
        ("await=5", 0),
        ("", 0),
    ],
)
def test_prefer_wait(header: str, seconds: int) -> None:
    assert wait_seconds(request(prefer=header)) == seconds


def test_without_headers_nothing_is_asked_for() -> None:
    assert wait_seconds(request()) == 0
    assert cancel_after(request()) is None
    assert idempotency_key(request()) is None


@pytest.mark.parametrize(("header", "seconds"), [("90s", 90), ("2m", 120), ("1h", 3600), ("30d", 2_592_000)])
def test_cancel_after(header: str, seconds: float) -> None:
    assert cancel_after(request(cancel_after=header)) == seconds


@pytest.mark.parametrize("header", ["", "90", "soon", "0s", "31d", "1.5h"])
def test_a_wrong_cancel_after_is_named(header: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        cancel_after(request(cancel_after=header))
    assert caught.value.faults[0].path == "Cancel-After"


@pytest.mark.parametrize("header", ["a", "order 42", "x" * 255, "!~"])
def test_idempotency_keys(header: str) -> None:
    assert idempotency_key(request(idempotency_key=header)) == header


@pytest.mark.parametrize("header", ["", " a", "a ", "x" * 256, "é", "a\tb"])
def test_a_wrong_idempotency_key_is_named(header: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        idempotency_key(request(idempotency_key=header))
    assert caught.value.faults[0].path == "Idempotency-Key"
