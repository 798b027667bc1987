"""Typed payloads: which type the values of a payload's fields have.

A schema is `{field path: type}`, with paths as filters write them (`size.eu`). A field holds one value of its type or a
list of them; it may be missing or null, and fields that the schema does not name may hold anything. What is declared
is what filters may ask for.
"""

import math
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias, cast, get_args

from shared.errors import FieldFault, InvalidInput
from shared.vectors.filter_nodes import MAX_NUMBER, NO_PATH, Path, at, moment, read_path

FieldType: TypeAlias = Literal["keyword", "number", "boolean", "datetime"]
Schema: TypeAlias = Mapping[str, FieldType]

FIELD_TYPES: tuple[FieldType, ...] = get_args(FieldType)
MAX_FIELDS = 64
RESERVED = ("and", "or", "not")
"""Keys that mean something else on the level of keys in a filter."""
WANTED = {
    "keyword": "text",
    "number": "a finite number between -2^53 and 2^53",
    "boolean": "true or false",
    "datetime": "an ISO 8601 datetime such as 2026-01-31T12:00:00Z",
}
"""What a value of each type is, for messages."""


def parse_schema(raw: Any, path: str) -> dict[str, FieldType]:
    """Read a schema. `path` names its place in the request.

    Raises InvalidInput with one FieldFault for each thing that is wrong.
    """
    faults = _schema_faults(raw, path)
    if faults:
        raise InvalidInput("The payload schema cannot be used as it is.", faults=tuple(faults))
    return cast(dict[str, FieldType], dict(raw))


def check_payload(payload: Mapping[str, Any], schema: Mapping[str, str], path: str = "payload") -> list[FieldFault]:
    """What is of the wrong type in a payload. `path` names the payload's place in the request."""
    faults = []
    for field, type in schema.items():
        found = at(payload, tuple(field.split(".")))
        values = {f"{path}.{field}": found}
        if isinstance(found, list):
            values = {f"{path}.{field}.{index}": value for index, value in enumerate(found)}
        elif found is None:
            continue
        for where, value in values.items():
            if not is_of_type(value, type):
                faults.append(FieldFault(where, f"must be {WANTED[type]}: {field!r} is a {type} field"))
    return faults


def is_of_type(value: Any, type: str) -> bool:
    """Whether a single value is one of a field of this type."""
    match type:
        case "keyword":
            return isinstance(value, str)
        case "number":
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            return is_number and math.isfinite(value) and abs(value) < MAX_NUMBER
        case "boolean":
            return isinstance(value, bool)
        case _:
            return moment(value) is not None


def _schema_faults(raw: Any, path: str) -> list[FieldFault]:
    if not isinstance(raw, Mapping):
        return [FieldFault(path, f"must be an object of fields and their types: {', '.join(FIELD_TYPES)}")]
    if len(raw) > MAX_FIELDS:
        return [FieldFault(path, f"has {len(raw)} fields; a schema has up to {MAX_FIELDS}")]
    faults = []
    for field, type in raw.items():
        where = f"{path}.{field}"
        if type not in FIELD_TYPES:
            faults.append(FieldFault(where, f"must be one of {', '.join(FIELD_TYPES)}"))
        keys = read_path(field)
        if keys is None:
            faults.append(FieldFault(where, NO_PATH))
        elif field in RESERVED:
            faults.append(FieldFault(where, "is a word of the filter language, which no field may be called"))
        elif (outer := _outer(keys, raw)) is not None:
            faults.append(FieldFault(where, f"lies within {outer!r}, which holds values and no further fields"))
    return faults


def _outer(keys: Path, raw: Mapping[Any, Any]) -> str | None:
    """The declared field that this one lies within."""
    outer = (".".join(keys[:length]) for length in range(1, len(keys)))
    return next((path for path in outer if path in raw), None)
