"""Request headers that say how to answer: `Prefer: wait=N` (RFC 7240), `Cancel-After`, `Idempotency-Key`."""

import re

from fastapi import Request

from shared.errors import FieldFault, InvalidInput
from shared.keys import parse_duration

MAX_WAIT_SECONDS = 60
MAX_CANCEL_AFTER_SECONDS = 30 * 86_400.0
MAX_KEY_LENGTH = 255
_WAIT = re.compile(r'\s*wait\s*=\s*"?([0-9]{1,9})"?\s*(?:;.*)?', re.IGNORECASE)
_KEY = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")


def wait_seconds(request: Request) -> int:
    """How long the client would like to wait, at most 60; 0 when it does not say so, or not so that it is understood.

    A preference is never an error (RFC 7240, section 2).
    """
    for header in request.headers.getlist("prefer"):
        for preference in header.split(","):
            if found := _WAIT.fullmatch(preference):
                return min(int(found[1]), MAX_WAIT_SECONDS)
    return 0


def cancel_after(request: Request) -> float | None:
    """Seconds of `Cancel-After: 90s` (also m, h, d).

    Raises:
        InvalidInput: it is no duration, or over 30 days.
    """
    value = request.headers.get("cancel-after")
    if value is None:
        return None
    try:
        seconds = parse_duration(value)
        if seconds > MAX_CANCEL_AFTER_SECONDS:
            raise ValueError("it is over 30 days")
    except ValueError as error:
        raise InvalidInput(
            "The header Cancel-After is not valid.", faults=(FieldFault("Cancel-After", str(error)),)
        ) from None
    return seconds


def idempotency_key(request: Request) -> str | None:
    """Raises InvalidInput unless the key is 1 to 255 printable ASCII characters."""
    value = request.headers.get("idempotency-key")
    if value is not None and (len(value) > MAX_KEY_LENGTH or not _KEY.fullmatch(value)):
        fault = FieldFault("Idempotency-Key", f"must be 1 to {MAX_KEY_LENGTH} printable ASCII characters")
        raise InvalidInput("The header Idempotency-Key is not valid.", faults=(fault,))
    return value
