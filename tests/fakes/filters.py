"""Random payloads and filters that meet often, for tests that hold two readings of a filter against each other."""

from typing import Any

from hypothesis import strategies as st

KEYS = ("a", "b", "c d", "é")
TEXTS = (
    "", "x", "X", "1", "true", "null", "naïve", "'; --", "%s", "{}", "靴",
    "2026-01-31", "2026-01-31T00:00:00Z", "2026-01-31 00:00:00", "2026-01-31T01:00:00+01:00", "2026-01-31T00:00",
    "2026-01-31T00:00:00.000001Z", "2026-01-31T00:00:00.0000019Z", "2026-02-30", "2026-1-31", "tomorrow", "0000-01-01",
    "0001-01-01", "9999-12-31T23:59:59.999999Z", "2026-01-31T24:00:00Z", "2026-01-31T00:00:60Z", "infinity", "2026",
)  # fmt: skip
MOMENTS = (
    "2026-01-31",
    "2026-01-31T00:00:00Z",
    "2026-01-31T00:00:00.000001Z",
    "2026-01-31T02:00:00+01:00",
    "0001-01-01",
)

numbers = st.sampled_from([0, 1, -1, 2, 1.0, 1.5, 0.1, -0.0, 2**53 - 1, 1e-300]) | st.integers(-3, 3)
scalars = st.sampled_from(TEXTS) | numbers | st.booleans()
_leaves = scalars | st.none() | st.sampled_from([2**53, 2**60, 1e300])
_values = st.recursive(
    _leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=2),
    max_leaves=6,
)
payloads = st.dictionaries(st.sampled_from(KEYS), _values, max_size=4)
"""Payloads of lists, objects and scalars over a few keys and values."""


def _operators(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    bounds = st.sampled_from(("gt", "gte", "lt", "lte"))
    plain = st.fixed_dictionaries(
        {},
        optional={
            "eq": scalars,
            "ne": scalars,
            "contains": scalars,
            "in": st.lists(scalars, min_size=1, max_size=3),
            "exists": st.booleans(),
            "not": scalars | inner,
        },
    )
    ranges = st.dictionaries(bounds, numbers, max_size=2) | st.dictionaries(
        bounds, st.sampled_from(MOMENTS), max_size=2
    )
    return st.builds(lambda left, right: {**left, **right}, plain, ranges).filter(bool)


_conditions = scalars | st.recursive(_operators(scalars), _operators, max_leaves=2)
_paths = st.sampled_from([*KEYS, "a.b", "b.a", "a.c d", "é.a", "0", "a.0"])
_fields = st.dictionaries(_paths, _conditions, max_size=2)
filters = st.recursive(
    _fields,
    lambda inner: st.fixed_dictionaries(
        {},
        optional={
            "and": st.lists(inner, min_size=1, max_size=2),
            "or": st.lists(inner, min_size=1, max_size=2),
            "not": inner,
        },
    ),
    max_leaves=4,
)
"""Filters as they come over the wire, all of them valid."""

VALUES: dict[str, tuple[Any, ...]] = {
    "keyword": ("", "x", "X", "1", "true", "2026-01-31", "naïve", "'; --", "靴"),
    "number": (0, 1, -1, 1.0, 1.5, 0.1, -0.0, 2**53 - 1, 1e-300),
    "boolean": (True, False),
    "datetime": (*MOMENTS, "2026-01-31 00:00:00", "2026-01-31T01:00:00+01:00", "2026-01-31T00:00", "9999-12-31"),
}
"""Values of each type of a payload schema, some of them equal in different spellings."""


def _typed(type: str) -> st.SearchStrategy[Any]:
    return st.sampled_from(VALUES[type])


schemas = st.dictionaries(st.sampled_from(["a", "b", "c d", "é", "o.a", "o.c d"]), st.sampled_from(sorted(VALUES)))
"""Payload schemas, of nested fields too."""


@st.composite
def typed_payloads(draw: st.DrawFn, schema: dict[str, str]) -> dict[str, Any]:
    """A payload that fits a schema: fields are missing, null, a value, or a list of values."""
    payload: dict[str, Any] = {}
    for field, type in schema.items():
        value = draw(st.none() | _typed(type) | st.lists(_typed(type), max_size=3))
        if draw(st.booleans()):
            *outer, last = field.split(".")
            inner = payload
            for key in outer:
                inner = inner.setdefault(key, {})
            inner[last] = value
    return payload


def typed_filters(schema: dict[str, str]) -> st.SearchStrategy[dict[str, Any]]:
    """Filters that a collection with that schema takes."""
    if not schema:
        return st.just({})
    fields = st.one_of([st.fixed_dictionaries({field: _typed_condition(type)}) for field, type in schema.items()])
    return st.recursive(
        fields,
        lambda inner: st.fixed_dictionaries(
            {},
            optional={
                "and": st.lists(inner, min_size=1, max_size=2),
                "or": st.lists(inner, min_size=1, max_size=2),
                "not": inner,
            },
        ),
        max_leaves=4,
    )


def _typed_condition(type: str) -> st.SearchStrategy[Any]:
    return _typed(type) | st.sampled_from(conditions(type)).map(lambda condition: condition[1])


def conditions(type: str) -> list[tuple[str, Any]]:
    """Each operator with values of a type: (its name, the condition)."""
    found: list[tuple[str, Any]] = [("exists", {"exists": True}), ("exists", {"exists": False})]
    values = VALUES[type]
    for value in values:
        found += [(name, {name: value}) for name in ("eq", "ne", "contains", "not")] + [("bare", value)]
        found += [("not", {"not": {"ne": value}}), ("not", {"not": {"not": value}})]
        if type in ("number", "datetime"):
            found += [(name, {name: value}) for name in ("gt", "gte", "lt", "lte")]
            found += [("not", {"not": {"gte": value}}), ("range", {"gte": values[0], "lt": value})]
            found += [("range", {"gt": value, "lte": values[1]})]
    found += [
        ("in", {"in": list(values[:2])}),
        ("in", {"in": [values[-1]]}),
        ("not", {"not": {"in": list(values[1:])}}),
    ]
    return found


def placements(type: str) -> list[dict[str, Any]]:
    """Payloads whose field `f` is missing, null, empty, a value, a list, or something of another type."""
    values = VALUES[type]
    others = [value for name, several in VALUES.items() if name != type for value in several[:2]]
    found: list[Any] = [None, [], [None], {}, {"f": values[0]}, [[values[0]]], [{"f": values[0]}], *others, [others[0]]]
    found += [
        *values,
        *([value] for value in values),
        [values[0], values[-1]],
        [values[1], None],
        [others[1], values[1]],
    ]
    return [{}, *({"f": value} for value in found)]
