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
