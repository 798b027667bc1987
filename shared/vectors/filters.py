"""The one filter language: from the wire to the tree in `filter_nodes.py`, every fault told at once.

`{"category": "shoes", "price": {"gte": 10, "lt": 50}, "color": {"in": ["red", "blue"]}, "brand": {"not": "x"},
"size.eu": 42, "or": [{"sale": true}, {"stock": {"gt": 0}}]}` - conditions that stand side by side must all hold. Keys
are dotted paths into the payload; `and`, `or` and `not` are reserved on the level of keys.

Operators: a bare value or `eq`; `ne`; `not` (a value, or operators to negate); `gt`, `gte`, `lt`, `lte` (numbers, or
ISO 8601 datetimes compared as moments); `in`; `exists` (true or false); `contains` (the same test as `eq`, to be read
as "the list holds"). `filter_nodes.py` says what each means for lists and for missing fields.

In a collection with a payload schema, conditions name declared fields only, with values and operators of their type:
bounds are for numbers and datetimes. A datetime field is compared as moments by every operator; without a schema `eq`,
`ne`, `in` and `contains` compare texts as they are written.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from shared.errors import FieldFault, InvalidInput
from shared.vectors.filter_nodes import (
    MAX_NUMBER,
    NO_PATH,
    AllOf,
    AnyOf,
    Between,
    Equals,
    Exists,
    Filter,
    Not,
    OneOf,
    Path,
    Scalar,
    matches,
    moment,
    read_path,
    storable,
)
from shared.vectors.payload_schema import WANTED, is_of_type

__all__ = ["Filter", "matches", "parse"]

MAX_DEPTH = 8
MAX_CONDITIONS = 256
MAX_VALUES = 1_000
"""Values in one filter altogether, those of `in` included."""
MAX_TEXT = 2_048

BOUNDS = ("gt", "gte", "lt", "lte")
OPERATORS = ("contains", "eq", "exists", *BOUNDS, "in", "ne", "not")


class _Field(NamedTuple):
    """What a condition is about. `type`: of the schema; None where there is none."""

    path: Path
    key: str
    type: str | None


def parse(raw: Any, path: str = "input.filter", schema: Mapping[str, str] | None = None) -> Filter:
    """Read a filter, in a collection with that payload schema.

    `path` names its place in the request. Raises InvalidInput with one FieldFault for each thing that is wrong.
    """
    parser = _Parser(schema)
    parsed = parser.filter(raw, path, depth=1)
    if parser.faults:
        raise InvalidInput("The filter cannot be used as it is.", faults=tuple(parser.faults))
    return parsed


class _Parser:
    def __init__(self, schema: Mapping[str, str] | None) -> None:
        self.faults: list[FieldFault] = []
        self._schema = schema
        self._conditions = 0
        self._values = 0

    def filter(self, raw: Any, where: str, depth: int) -> Filter:
        """An object of conditions."""
        if not isinstance(raw, dict):
            return self._fault(where, f"must be an object of conditions, not {_kind(raw)}")
        if depth > MAX_DEPTH:
            return self._fault(where, f"is nested more than {MAX_DEPTH} levels deep")
        return _all([self._entry(key, value, f"{where}.{key}", depth) for key, value in raw.items()])

    def _entry(self, key: Any, value: Any, where: str, depth: int) -> Filter:
        if key in ("and", "or"):
            return self._group(key, value, where, depth)
        if key == "not":
            return Not(self.filter(value, where, depth + 1))
        self._conditions += 1
        if self._conditions == MAX_CONDITIONS + 1:
            self._fault(where, f"is one condition too many; a filter holds up to {MAX_CONDITIONS}")
        if self._conditions > MAX_CONDITIONS:
            return AllOf(())
        return self._condition(self._field(key, where), value, where, depth)

    def _group(self, key: str, value: Any, where: str, depth: int) -> Filter:
        if not isinstance(value, list) or not value:
            return self._fault(where, f"must be a list of one or more filters, not {_kind(value)}")
        if len(value) > MAX_CONDITIONS:
            return self._fault(where, f"has {len(value)} filters; a filter holds up to {MAX_CONDITIONS} conditions")
        parts = tuple(self.filter(part, f"{where}.{index}", depth + 1) for index, part in enumerate(value))
        return AllOf(parts) if key == "and" else AnyOf(parts)

    def _condition(self, field: _Field, value: Any, where: str, depth: int) -> Filter:
        if isinstance(value, dict):
            return self._operators(field, value, where, depth)
        if isinstance(value, list):
            return self._fault(where, 'must not be a list; write {"in": [...]} for any of several values')
        if value is None:
            return self._fault(where, 'must not be null; write {"exists": false} for a missing field')
        return self._equals(field, value, where)

    def _operators(self, field: _Field, raw: dict[Any, Any], where: str, depth: int) -> Filter:
        if not raw:
            return self._fault(where, f"has no operator; allowed here: {', '.join(OPERATORS)}")
        if depth >= MAX_DEPTH:
            return self._fault(where, f"is nested more than {MAX_DEPTH} levels deep")
        readers: dict[str, Callable[[Any, str], Filter]] = {
            "eq": lambda value, at: self._equals(field, value, at),
            "contains": lambda value, at: self._equals(field, value, at),
            "ne": lambda value, at: Not(self._equals(field, value, at)),
            "not": lambda value, at: Not(self._condition(field, value, at, depth + 1)),
            "in": lambda value, at: self._one_of(field, value, at),
            "exists": lambda value, at: self._exists(field.path, value, at),
        }
        parts: list[Filter] = []
        for name, value in raw.items():
            if name in readers:
                parts.append(readers[name](value, f"{where}.{name}"))
            elif name not in BOUNDS:
                self._fault(f"{where}.{name}", f"is no operator; allowed here: {', '.join(OPERATORS)}")
        bounds = {name: raw[name] for name in BOUNDS if name in raw}
        if bounds:
            parts.append(self._between(field, bounds, where))
        return _all(parts)

    def _equals(self, field: _Field, value: Any, where: str) -> Filter:
        faults = len(self.faults)
        read = self._scalar(value, where)
        if field.type is not None and len(self.faults) == faults and not is_of_type(read, field.type):
            self._fault(where, f"must be {WANTED[field.type]}: {_is_a(field)}")
        if field.type == "datetime":
            at = moment(read)
            return Between(field.path, gte=at, lte=at)
        return Equals(field.path, read)

    def _between(self, field: _Field, raw: dict[str, Any], where: str) -> Filter:
        if field.type in ("keyword", "boolean"):
            for name in raw:
                self._fault(f"{where}.{name}", f"is for number and datetime fields: {_is_a(field)}")
            return AllOf(())
        bounds = {name: self._bound(field, value, f"{where}.{name}") for name, value in raw.items()}
        if len({isinstance(bound, float | int) for bound in bounds.values() if bound is not None}) > 1:
            return self._fault(where, "mixes numbers and datetimes; give bounds of one type")
        return Between(field.path, **bounds)

    def _bound(self, field: _Field, value: Any, where: str) -> Any:
        if field.type is not None and not is_of_type(value, field.type):
            self._fault(where, f"must be {WANTED[field.type]}: {_is_a(field)}")
            return None
        if isinstance(value, str):
            self._count_value(where)
            read = moment(value)
            if read is None:
                self._fault(where, "must be a number or an ISO 8601 datetime such as 2026-01-31T12:00:00Z")
            return read
        if isinstance(value, bool) or not isinstance(value, int | float):
            self._fault(where, f"must be a number or an ISO 8601 datetime, not {_kind(value)}")
            return None
        return self._scalar(value, where)

    def _one_of(self, field: _Field, value: Any, where: str) -> Filter:
        if not isinstance(value, list) or not value:
            return self._fault(where, f"must be a list of 1 to {MAX_VALUES} values, not {_kind(value)}")
        if len(value) > MAX_VALUES:
            return self._fault(where, f"has {len(value)} values; a filter holds up to {MAX_VALUES}")
        parts = [self._equals(field, each, f"{where}.{index}") for index, each in enumerate(value)]
        if field.type == "datetime":
            return AnyOf(tuple(parts))
        return OneOf(field.path, tuple(part.value for part in parts if isinstance(part, Equals)))

    def _exists(self, path: Path, value: Any, where: str) -> Filter:
        if not isinstance(value, bool):
            return self._fault(where, f"must be true or false, not {_kind(value)}")
        return Exists(path) if value else Not(Exists(path))

    def _scalar(self, value: Any, where: str) -> Scalar:
        self._count_value(where)
        if isinstance(value, bool):
            return value
        if isinstance(value, str):
            if len(value) > MAX_TEXT or not storable(value):
                self._fault(where, f"must be text of up to {MAX_TEXT} characters without NUL or lone surrogates")
            return value
        if isinstance(value, int | float):
            if not math.isfinite(value) or abs(value) >= MAX_NUMBER:
                self._fault(where, "must be a finite number between -2^53 and 2^53")
            return value
        self._fault(where, f"must be text, a number, true or false, not {_kind(value)}")
        return False

    def _count_value(self, where: str) -> None:
        self._values += 1
        if self._values == MAX_VALUES + 1:
            self._fault(where, f"is one value too many; a filter holds up to {MAX_VALUES}")

    def _field(self, key: Any, where: str) -> _Field:
        path = read_path(key)
        if path is None:
            self._fault(where, NO_PATH)
            return _Field((), str(key), None)
        if self._schema is not None and key not in self._schema:
            known = ", ".join(f"{name} ({type})" for name, type in sorted(self._schema.items())) or "none"
            self._fault(where, f"is no field of the collection's payload schema; known fields: {known}")
        return _Field(path, key, self._schema.get(key) if self._schema else None)

    def _fault(self, where: str, message: str) -> Filter:
        self.faults.append(FieldFault(where, message))
        return AllOf(())


def _all(parts: list[Filter]) -> Filter:
    return parts[0] if len(parts) == 1 else AllOf(tuple(parts))


def _is_a(field: _Field) -> str:
    return f"{field.key!r} is a {field.type} field"


def _kind(value: Any) -> str:
    """The JSON name of a value's type, for messages."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    names = ((str, "text"), (int | float, "a number"), (list, "a list" if value else "an empty list"))
    return next((name for type_, name in names if isinstance(value, type_)), "an object")
