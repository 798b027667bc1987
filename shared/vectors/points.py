"""Checks that both stores make before they write or search, so that they refuse the same things."""

import json
import re
from collections.abc import Sequence

import numpy as np

from shared.errors import ErrorCode, PermanentJobError
from shared.vectors.protocol import CollectionRef, Point, Vector

MAX_ID = 512
MAX_VERSION = 2**60 - 1
_ESCAPED_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")


def checked_points(collection: CollectionRef, points: Sequence[Point]) -> list[Point]:
    """The points to write, one an id (the highest version, of equal ones the last), ordered by id.

    Raises PermanentJobError: `model_mismatch` or `invalid_input`, naming the item.
    """
    latest: dict[str, Point] = {}
    for point in points:
        check_point(collection, point)
        if point.id not in latest or latest[point.id].version <= point.version:
            latest[point.id] = point
    return [latest[id] for id in sorted(latest)]


def check_point(collection: CollectionRef, point: Point) -> None:
    """Raise PermanentJobError (`model_mismatch`, `invalid_input`) for an id, version, text or vector that is refused.

    A write refuses all of its points for one that is bad: whoever wants the others stored calls this for each before.
    The payload is for `payload_json` to check.
    """
    if not 1 <= len(point.id) <= MAX_ID or not _is_text(point.id):
        raise _invalid(
            f"The item id {point.id[:40]!r} must be 1 to {MAX_ID} characters without NUL or lone surrogates."
        )
    if not 0 <= point.version <= MAX_VERSION:
        raise _invalid(f"The version of item {point.id!r} must lie between 0 and 2^60 - 1.")
    if not all(_is_text(text) for text in (point.text, point.content_hash) if text is not None):
        raise _invalid(f"The text of item {point.id!r} must be without NUL and lone surrogates.")
    check_vector(collection, point.vector, f"The vector of item {point.id!r}")


def check_vector(collection: CollectionRef, vector: Vector, whose: str) -> None:
    """Raise PermanentJobError unless `vector` is (d,), finite and not zero. `whose` begins the message."""
    if vector.shape != (collection.dimension,):
        shape = "x".join(map(str, vector.shape))
        raise PermanentJobError(
            ErrorCode.MODEL_MISMATCH,
            f"{whose} has {shape} components, but the collection holds vectors of {collection.dimension}; "
            "use the model that the collection was made with.",
        )
    square = float(np.dot(vector, vector))
    if not np.isfinite(square) or square == 0.0:
        raise _invalid(f"{whose} must be finite and not zero.")


def payload_json(point: Point) -> str:
    """The payload as JSON text. Raises PermanentJobError when it is not JSON that a store can keep."""
    try:
        text = json.dumps(point.payload, ensure_ascii=False, allow_nan=False)
        text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise _invalid(f"The payload of item {point.id!r} is not plain JSON: {error}.") from error
    if _ESCAPED_NUL.search(text):
        raise _invalid(f"The payload of item {point.id!r} holds a NUL character, which cannot be stored.")
    return text


def _is_text(text: str) -> bool:
    return "\x00" not in text and not any("\ud800" <= character <= "\udfff" for character in text)


def _invalid(message: str) -> PermanentJobError:
    return PermanentJobError(ErrorCode.INVALID_INPUT, message)
