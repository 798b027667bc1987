"""The filter tree as a Qdrant filter. `models` only: nothing here connects.

Qdrant tells 1 from 1.0 in an exact match and has no floats there, so numbers are matched by a range of one.
"""

import re
from datetime import datetime

from qdrant_client import models

from shared.vectors.filter_nodes import AllOf, AnyOf, Between, Equals, Exists, Filter, Not, OneOf, Path, Scalar

PLAIN_KEY = re.compile(r"[A-Za-z0-9_-]+")


def compile_qdrant(filter: Filter, prefix: Path) -> models.Filter:
    """The filter over payloads that lie under `prefix` in the stored point."""
    match filter:
        case Equals(path, value):
            return models.Filter(must=[_equals(key_of(prefix + path), value)])
        case OneOf(path, values):
            return models.Filter(should=_one_of(key_of(prefix + path), values))
        case Between(path):
            return models.Filter(must=[_between(key_of(prefix + path), filter)])
        case Exists(path):
            return models.Filter(
                must_not=[models.IsEmptyCondition(is_empty=models.PayloadField(key=key_of(prefix + path)))]
            )
        case AllOf(parts):
            return models.Filter(must=[compile_qdrant(part, prefix) for part in parts])
        case AnyOf(parts):
            return models.Filter(should=[compile_qdrant(part, prefix) for part in parts])
        case Not(part):
            return models.Filter(must_not=[compile_qdrant(part, prefix)])


def _equals(key: str, value: Scalar) -> models.FieldCondition:
    if isinstance(value, bool | str):
        return models.FieldCondition(key=key, match=models.MatchValue(value=value))
    return models.FieldCondition(key=key, range=models.Range(gte=value, lte=value))


def _one_of(key: str, values: tuple[Scalar, ...]) -> list[models.Condition]:
    texts = [value for value in values if isinstance(value, str)]
    conditions: list[models.Condition] = [_equals(key, value) for value in values if not isinstance(value, str)]
    if texts:
        conditions.append(models.FieldCondition(key=key, match=models.MatchAny(any=texts)))
    return conditions


def _between(key: str, range: Between) -> models.FieldCondition:
    if range.of_moments:
        moments = {name: bound for name, bound in range.bounds().items() if isinstance(bound, datetime)}
        return models.FieldCondition(key=key, range=models.DatetimeRange(**moments))
    numbers = {name: float(bound) for name, bound in range.bounds().items() if not isinstance(bound, datetime)}
    return models.FieldCondition(key=key, range=models.Range(**numbers))


def key_of(path: Path) -> str:
    """The key by which Qdrant knows a field."""
    return ".".join(key if PLAIN_KEY.fullmatch(key) else f'"{key}"' for key in path)
