"""The filter language as a tree, and what it means: `matches` is the reference that both stores agree with.

A *value* of a field is what its path leads to; when that is a list, each of its elements (one level deep). A positive
condition holds when **any** value satisfies it, so `{"color": "red"}` matches `{"color": ["red", "blue"]}`. A missing
field has no values: it matches no positive condition, and therefore matches every negated one. A path steps through
objects only, never into the elements of a list.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeAlias

Scalar: TypeAlias = str | int | float | bool
Path: TypeAlias = tuple[str, ...]

MAX_PATH = 512
"""Characters of a path."""
NO_PATH = f"must be a dotted path of payload keys, up to {MAX_PATH} characters, without empty parts or double quotes"
MAX_NUMBER = 2**53
"""Beyond this a double, which one store compares with, no longer tells integers apart."""

_DATE = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
_MINUTE = r"([01][0-9]|2[0-3]):[0-5][0-9]"
_SECOND = rf"{_MINUTE}:[0-5][0-9]([.][0-9]{{1,9}})?"
_ZONE = r"(Z|[+-](0[0-9]|1[0-4]):[0-5][0-9])"
ZONED_MOMENT = rf"^{_DATE}[T ]{_SECOND}{_ZONE}$"
"""A moment with its own offset. Written in what Python and Postgres regular expressions have in common."""
PLAIN_MOMENT = rf"^{_DATE}([T ]({_MINUTE}|{_SECOND}))?$"
"""A moment without an offset, read as UTC; a date is its first instant."""


@dataclass(frozen=True)
class Equals:
    """A value is `value`: the same type (a boolean is no number, 1 is 1.0), strings by code points."""

    path: Path
    value: Scalar


@dataclass(frozen=True)
class OneOf:
    """A value is one of `values`."""

    path: Path
    values: tuple[Scalar, ...]


@dataclass(frozen=True)
class Between:
    """One single value lies within every bound given. Bounds are all numbers or all moments (`moment`)."""

    path: Path
    gt: float | datetime | None = None
    gte: float | datetime | None = None
    lt: float | datetime | None = None
    lte: float | datetime | None = None

    @property
    def of_moments(self) -> bool:
        """Whether the bounds are datetimes; numbers otherwise."""
        return any(isinstance(bound, datetime) for bound in self.bounds().values())

    def bounds(self) -> dict[str, float | datetime]:
        """The bounds that were given, by operator name."""
        named = {"gt": self.gt, "gte": self.gte, "lt": self.lt, "lte": self.lte}
        return {name: bound for name, bound in named.items() if bound is not None}


@dataclass(frozen=True)
class Exists:
    """The field is there, and is neither null nor an empty list."""

    path: Path


@dataclass(frozen=True)
class AllOf:
    """Every part holds; with no parts, everything matches."""

    parts: "tuple[Filter, ...]"


@dataclass(frozen=True)
class AnyOf:
    """At least one part holds. Never empty."""

    parts: "tuple[Filter, ...]"


@dataclass(frozen=True)
class Not:
    """`part` does not hold."""

    part: "Filter"


Filter: TypeAlias = Equals | OneOf | Between | Exists | AllOf | AnyOf | Not


def matches(filter: Filter, payload: Mapping[str, Any]) -> bool:
    """Whether an item with this payload passes."""
    match filter:
        case Equals(path, value):
            return any(same(found, value) for found in values_at(payload, path))
        case OneOf(path, values):
            return any(same(found, value) for found in values_at(payload, path) for value in values)
        case Between(path):
            return any(_within(filter, found) for found in values_at(payload, path))
        case Exists(path):
            return at(payload, path) not in (None, [])
        case AllOf(parts):
            return all(matches(part, payload) for part in parts)
        case AnyOf(parts):
            return any(matches(part, payload) for part in parts)
        case Not(part):
            return not matches(part, payload)


def values_at(payload: Mapping[str, Any], path: Path) -> list[Any]:
    """The values of a field, as the module's docstring defines them."""
    found = at(payload, path)
    return found if isinstance(found, list) else [found]


def same(found: Any, value: Scalar) -> bool:
    """Equality as JSON sees it: a boolean equals no number."""
    if isinstance(found, bool) or isinstance(value, bool):
        return found is value
    return bool(found == value)


def moment(text: Any) -> datetime | None:
    """A datetime read from an ISO 8601 string (RFC 3339, or less of it), or None where it is none.

    `2026-01-31`, `2026-01-31T12:00`, `2026-01-31 12:00:00.5`, `2026-01-31T12:00:00+01:00`. Digits past the
    microsecond are cut.
    """
    if not isinstance(text, str) or not (re.match(ZONED_MOMENT, text) or re.match(PLAIN_MOMENT, text)):
        return None
    if text.endswith("\n"):
        return None
    try:
        read = datetime.fromisoformat(text)
    except ValueError:
        return None
    return read if read.tzinfo else read.replace(tzinfo=UTC)


def read_path(key: Any) -> Path | None:
    """The path that a dotted key writes, or None where it writes none."""
    keys = tuple(key.split(".")) if isinstance(key, str) else ()
    if not keys or len(key) > MAX_PATH or not all(keys) or '"' in key or not storable(key):
        return None
    return keys


def storable(text: str) -> bool:
    """Whether both stores can keep a text: it has no NUL and no lone surrogates."""
    return "\x00" not in text and not any("\ud800" <= character <= "\udfff" for character in text)


def at(payload: Mapping[str, Any], path: Path) -> Any:
    """What a path leads to; None where it leads nowhere."""
    found: Any = payload
    for key in path:
        if not isinstance(found, Mapping) or key not in found:
            return None
        found = found[key]
    return found


def _within(range: Between, found: Any) -> bool:
    value: Any
    if range.of_moments:
        value = moment(found)
    else:
        value = found if isinstance(found, int | float) and not isinstance(found, bool) else None
    if value is None:
        return False
    tests: dict[str, Any] = {
        "gt": lambda bound: value > bound,
        "gte": lambda bound: value >= bound,
        "lt": lambda bound: value < bound,
        "lte": lambda bound: value <= bound,
    }
    return all(tests[name](bound) for name, bound in range.bounds().items())
