"""Checks that both stores make before they write or search, so that they refuse the same things."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from shared.errors import ErrorCode, PermanentJobError
from shared.vectors.filter_nodes import storable
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
    if not 1 <= len(point.id) <= MAX_ID or not storable(point.id):
        raise _invalid(
            f"The item id {point.id[:40]!r} must be 1 to {MAX_ID} characters without NUL or lone surrogates."
        )
    check_version(point.id, point.version)
    check_text(point.id, point.text)
    check_text(point.id, point.content_hash)
    check_vector(collection, point.vector, f"The vector of item {point.id!r}")


def check_version(id: str, version: int) -> None:
    """Raise PermanentJobError (`invalid_input`) for a version that a store cannot keep."""
    if not 0 <= version <= MAX_VERSION:
        raise _invalid(f"The version of item {id!r} must lie between 0 and 2^60 - 1.")


def check_text(id: str, text: str | None) -> None:
    """Raise PermanentJobError (`invalid_input`) for a text of item `id` that a store cannot keep."""
    if text is not None and not storable(text):
        raise _invalid(f"The text of item {id!r} must be without NUL and lone surrogates.")


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


def payload_json(id: str, payload: Mapping[str, Any]) -> str:
    """The payload of item `id` as JSON text. Raises PermanentJobError when it is not JSON that a store can keep."""
    return _json(payload, f"The payload of item {id!r}")


def image_json(point: Point) -> str | None:
    """Where the picture is, as JSON text. Raises PermanentJobError as `payload_json` does."""
    return None if point.image is None else _json(point.image, f"The picture's place of item {point.id!r}")


def fingerprint_json(point: Point) -> str | None:
    """The picture's hashes, as JSON text. Raises PermanentJobError as `payload_json` does."""
    if point.fingerprint is None:
        return None
    return _json(point.fingerprint.to_json(), f"The fingerprint of item {point.id!r}")


def check_json(point: Point) -> None:
    """Raise PermanentJobError where a part of the point is not JSON that a store can keep."""
    payload_json(point.id, point.payload)
    image_json(point)
    fingerprint_json(point)


def _json(value: Mapping[str, Any], whose: str) -> str:
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
        text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise _invalid(f"{whose} is not plain JSON: {error}.") from error
    if _ESCAPED_NUL.search(text):
        raise _invalid(f"{whose} holds a NUL character, which cannot be stored.")
    return text


def _invalid(message: str) -> PermanentJobError:
    return PermanentJobError(ErrorCode.INVALID_INPUT, message)
