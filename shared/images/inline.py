"""Pictures that travel inside a request: base64 and `data:` URIs."""

import base64
import binascii
import re
from dataclasses import dataclass

from shared.errors import ErrorCode, PermanentJobError

_DATA_URI = re.compile(r"data:([^,]{0,200}),", re.IGNORECASE)


@dataclass(frozen=True)
class InlinePicture:
    """Bytes of an inline picture, and the media type that its `data:` URI claims, if there is one."""

    data: bytes
    content_type: str | None


def decode_inline(text: str, max_bytes: int) -> InlinePicture:
    """Decode base64 (RFC 4648, section 4) or a base64 `data:` URI (RFC 2397), strictly.

    The size is checked before anything is decoded. Raises PermanentJobError: `image_too_large` over `max_bytes` bytes,
    `invalid_input` for text that is not base64, saying what to change.
    """
    content_type = None
    if text[:5].lower() == "data:":
        content_type, start = _data_uri_header(text)
        text = text[start:]
    if len(text) > 4 * ((max_bytes + 2) // 3):
        raise _too_large(max_bytes)
    data = _strict_base64(text)
    if len(data) > max_bytes:
        raise _too_large(max_bytes)
    return InlinePicture(data, content_type)


def _data_uri_header(text: str) -> tuple[str | None, int]:
    found = _DATA_URI.match(text)
    if found is None:
        raise _invalid("The data: URI has no comma before its content. Write data:image/png;base64,<content>.")
    media_type, *parameters = found[1].split(";")
    if "base64" not in (parameter.strip().lower() for parameter in parameters):
        raise _invalid("The data: URI is not base64. Write data:image/png;base64,<content>.")
    return media_type.strip().lower() or None, found.end()


def _strict_base64(text: str) -> bytes:
    if not text:
        raise _invalid("The inline picture is empty. Send the file's content as base64.")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise _invalid(_advice(text)) from error


def _advice(text: str) -> str:
    if any(character.isspace() for character in text):
        return "The base64 holds spaces or line breaks. Remove them."
    if "-" in text or "_" in text:
        return "The base64 uses the URL-safe alphabet (- and _). Use the standard one (+ and /)."
    if "%" in text:
        return "The base64 is percent-encoded. Send it without %-escapes."
    if len(text) % 4 and re.fullmatch(r"[A-Za-z0-9+/]+={0,2}", text):
        return "The base64 is cut short or lacks its padding. Its length must be a multiple of 4 (pad with =)."
    return "The inline picture is not base64. Encode the file's bytes as base64, or give a URL."


def _invalid(message: str) -> PermanentJobError:
    return PermanentJobError(ErrorCode.INVALID_INPUT, message)


def _too_large(max_bytes: int) -> PermanentJobError:
    message = f"The inline picture is over {max_bytes / 1e6:g} MB. Send a smaller one, or upload it as a file."
    return PermanentJobError(ErrorCode.IMAGE_TOO_LARGE, message)
