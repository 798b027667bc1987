"""Cursors: where a page ended, in a form that nobody is tempted to build by hand."""

import base64
import binascii
import uuid

from shared.errors import FieldFault, InvalidInput

_TEXT_MARK = b"after:"
"""What tells a cursor from any other text that happens to be base64."""


def of_text(text: str) -> str:
    return base64.urlsafe_b64encode(_TEXT_MARK + text.encode()).decode().rstrip("=")


def of_id(id: uuid.UUID) -> str:
    return base64.urlsafe_b64encode(id.bytes).decode().rstrip("=")


def to_text(cursor: str) -> str:
    """Raises InvalidInput for what `of_text` did not make."""
    content = _bytes(cursor)
    if not content.startswith(_TEXT_MARK):
        raise _bad()
    try:
        text = content.removeprefix(_TEXT_MARK).decode()
    except UnicodeDecodeError:
        raise _bad() from None
    if "\0" in text:
        raise _bad()
    return text


def to_id(cursor: str) -> uuid.UUID:
    """Raises InvalidInput for what `of_id` did not make."""
    content = _bytes(cursor)
    if len(content) != 16:
        raise _bad()
    return uuid.UUID(bytes=content)


def _bytes(cursor: str) -> bytes:
    try:
        return base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except (ValueError, binascii.Error):
        raise _bad() from None


def _bad() -> InvalidInput:
    fault = FieldFault("cursor", "is none that a list answered with; leave it out to begin anew")
    return InvalidInput("The request is not valid.", faults=(fault,))
