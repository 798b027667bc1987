"""Reading a request's body: counted while it arrives, JSON, and nothing in it that the database cannot hold."""

import contextlib
import json
import re
from collections.abc import Iterator
from typing import Any, NoReturn

import orjson
from fastapi import Request

from api.errors import Malformed, WrongContentType
from shared.errors import FieldFault, InvalidInput, TooLarge

_JSON = re.compile(r"application/(?:[a-z0-9.!#$&^_-]+\+)?json", re.IGNORECASE)
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


async def read_json(request: Request, max_bytes: int) -> Any:
    """The body as JSON.

    Raises:
        WrongContentType: it is declared as something else.
        TooLarge: it is over `max_bytes`, whether declared so or not.
        Malformed: it is not JSON (RFC 8259) in UTF-8.
        InvalidInput: a string in it holds a NUL or half a surrogate pair, by path.
    """
    return parse_json(await read_body(request, max_bytes))


async def read_body(request: Request, max_bytes: int) -> bytes:
    """The body as it came, for `parse_json`. Raises WrongContentType, TooLarge."""
    _check_content_type(request.headers.get("content-type"))
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > max_bytes:
        raise _too_large(max_bytes)
    chunks: list[bytes] = []
    received = 0
    async for chunk in request.stream():
        received += len(chunk)
        if received > max_bytes:
            raise _too_large(max_bytes)
        chunks.append(chunk)
    return b"".join(chunks)


def parse_json(body: bytes) -> Any:
    """See `read_json`."""
    if not body:
        raise Malformed("The body is empty; send a JSON object.")
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        _explain(body, error)
    if b"\\u0000" in body:
        _refuse_unstorable(value)
    return value


def _explain(body: bytes, error: orjson.JSONDecodeError) -> NoReturn:
    """orjson refuses half a surrogate pair as malformed; the standard library lets us say where it is."""
    if b"\\ud" in body.lower():
        with contextlib.suppress(ValueError, RecursionError):
            _refuse_unstorable(json.loads(body, parse_constant=_no_constant))
    raise Malformed(f"The body is not JSON: {error.msg} (line {error.lineno}, column {error.colno}).") from None


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _refuse_unstorable(value: Any) -> None:
    faults = tuple(
        FieldFault(path, "holds a NUL character or half of a surrogate pair, which cannot be stored; remove it")
        for path in _unstorable(value)
    )
    if faults:
        raise InvalidInput("The request holds text that cannot be stored.", faults=faults)


def _unstorable(value: Any) -> Iterator[str]:
    stack: list[tuple[str, Any]] = [("", value)]
    while stack:
        path, value = stack.pop()
        if isinstance(value, str):
            if _UNSTORABLE.search(value):
                yield path
        elif isinstance(value, dict):
            for key, inner in reversed(value.items()):
                where = f"{path}.{key}" if path else key
                if _UNSTORABLE.search(key):
                    yield ascii(where)[1:-1]
                else:
                    stack.append((where, inner))
        elif isinstance(value, list):
            stack.extend((f"{path}.{index}", value[index]) for index in reversed(range(len(value))))


def _check_content_type(value: str | None) -> None:
    media_type, _, parameters = (value or "").partition(";")
    if not _JSON.fullmatch(media_type.strip()):
        raise WrongContentType("Send JSON, with Content-Type: application/json.")
    charset = parameters.lower().partition("charset=")[2].strip(' "')
    if charset not in ("", "utf-8", "utf8"):
        raise WrongContentType("Send JSON in UTF-8.")


def _too_large(max_bytes: int) -> TooLarge:
    return TooLarge(f"The body is over {max_bytes / 1e6:g} MB. Send less at once, or give pictures by URL.")
