from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from qdrant_client.local.payload_filters import check_filter

from shared.errors import InvalidInput
from shared.vectors.filter_nodes import moment
from shared.vectors.filter_qdrant import compile_qdrant
from shared.vectors.filters import MAX_CONDITIONS, MAX_VALUES, OPERATORS, matches, parse
from tests.fakes.filters import (
    VALUES,
    conditions,
    filters,
    payloads,
    placements,
    schemas,
    typed_filters,
    typed_payloads,
)

SHOE = {
    "category": "shoes",
    "price": 40,
    "colors": ["red", "blue"],
    "sizes": [38, 46],
    "sale": True,
    "brand": None,
    "none": [],
    "maker": {"name": "Ada", "since": "2020-05-01T10:00:00+02:00"},
    "parts": [{"name": "sole"}],
}


@pytest.mark.parametrize(
    ("filter", "expected"),
    [
        ({}, True),
        ({"category": "shoes"}, True),
        ({"category": "Shoes"}, False),
        ({"category": "shoes", "price": {"gte": 10, "lt": 50}}, True),
        ({"category": "shoes", "price": {"gte": 10, "lt": 40}}, False),
        ({"price": 40.0}, True),
        ({"price": "40"}, False),
        ({"sale": True}, True),
        ({"sale": 1}, False),
        ({"price": {"lt": 50}, "sale": {"lt": 2}}, False),
        ({"colors": "red"}, True),
        ({"colors": {"contains": "red"}}, True),
        ({"colors": {"contains": "re"}}, False),
        ({"colors": {"in": ["green", "blue"]}}, True),
        ({"colors": {"not": "red"}}, False),
        ({"colors": {"ne": "green"}}, True),
        ({"sizes": {"gte": 40, "lt": 45}}, False),  # one and the same element has to lie between
        ({"sizes": {"gte": 45}}, True),
        ({"missing": {"not": "x"}}, True),
        ({"missing": {"ne": 1}}, True),
        ({"missing": {"lt": 1}}, False),
        ({"missing": {"not": {"in": [1, 2]}}}, True),
        ({"brand": {"exists": False}}, True),
        ({"none": {"exists": True}}, False),
        ({"maker": {"exists": True}}, True),
        ({"maker.name": "Ada"}, True),
        ({"maker.since": {"gt": "2020-05-01T07:59:59Z", "lte": "2020-05-01T08:00:00Z"}}, True),
        ({"maker.since": {"lt": "2020-05-01"}}, False),
        ({"parts.name": "sole"}, False),  # a path does not step into lists
        ({"or": [{"price": 1}, {"sale": True}]}, True),
        ({"and": [{"price": 40}, {"not": {"sale": True}}]}, False),
        ({"not": {"or": [{"price": 1}, {"price": 2}]}}, True),
    ],
)
def test_what_a_filter_means(filter: dict[str, Any], expected: bool) -> None:
    assert matches(parse(filter), SHOE) is expected


@pytest.mark.parametrize(
    ("filter", "path", "words"),
    [
        ([], "input.filter", "an object of conditions, not an empty list"),
        ({"price": {"between": [1, 2]}}, "input.filter.price.between", ", ".join(OPERATORS)),
        ({"price": {}}, "input.filter.price", "no operator"),
        ({"price": [1]}, "input.filter.price", '{"in": [...]}'),
        ({"price": None}, "input.filter.price", '{"exists": false}'),
        ({"price": {"gt": True}}, "input.filter.price.gt", "not true or false"),
        ({"price": {"gt": "cheap"}}, "input.filter.price.gt", "ISO 8601"),
        ({"price": {"gt": 1, "lt": "2026-01-01"}}, "input.filter.price", "mixes"),
        ({"price": {"in": 5}}, "input.filter.price.in", "a list"),
        ({"price": {"in": []}}, "input.filter.price.in", "not an empty list"),
        ({"price": {"in": [1, [2]]}}, "input.filter.price.in.1", "not a list"),
        ({"price": {"eq": {"a": 1}}}, "input.filter.price.eq", "not an object"),
        ({"price": {"exists": "yes"}}, "input.filter.price.exists", "true or false"),
        ({"price": {"not": ["a"]}}, "input.filter.price.not", '{"in": [...]}'),
        ({"price": float("nan")}, "input.filter.price", "finite"),
        ({"price": 2**53}, "input.filter.price", "2^53"),
        ({"or": []}, "input.filter.or", "one or more filters"),
        ({"or": {"a": 1}}, "input.filter.or", "not an object"),
        ({"and": [1]}, "input.filter.and.0", "not a number"),
        ({"a..b": 1}, "input.filter.a..b", "dotted path"),
        ({'a"b': 1}, 'input.filter.a"b', "double quotes"),
        ({"a": "nul\x00"}, "input.filter.a", "NUL"),
        ({"a": "\ud800"}, "input.filter.a", "surrogates"),
        ({"a": "x" * 3000}, "input.filter.a", "2048 characters"),
        ({"a": {"in": list(range(MAX_VALUES + 1))}}, "input.filter.a.in", f"up to {MAX_VALUES}"),
        ({f"k{n}": 1 for n in range(MAX_CONDITIONS + 1)}, f"input.filter.k{MAX_CONDITIONS}", "one condition too many"),
    ],
)
def test_a_fault_names_its_path_and_the_way_out(filter: Any, path: str, words: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        parse(filter)
    (fault,) = refused.value.faults
    assert fault.path == path
    assert words in fault.message


def test_every_fault_is_told_at_once() -> None:
    with pytest.raises(InvalidInput) as refused:
        parse({"a": {"foo": 1, "gt": "x"}, "or": [{"b": None}, {"c": {"in": 1}}], "d": 1}, path="filter")
    assert [fault.path for fault in refused.value.faults] == [
        "filter.a.foo",
        "filter.a.gt",
        "filter.or.0.b",
        "filter.or.1.c.in",
    ]


@pytest.mark.parametrize("wrap", [lambda inner: {"not": inner}, lambda inner: {"or": [inner]}], ids=["not", "or"])
def test_depth_is_bounded(wrap: Any) -> None:
    filter: Any = {"a": 1}
    for _ in range(10_000):
        filter = wrap(filter)
    with pytest.raises(InvalidInput, match="cannot be used"):
        parse(filter)


def test_depth_of_negated_operators_is_bounded() -> None:
    operators: Any = {"eq": 1}
    for _ in range(10_000):
        operators = {"not": operators}
    with pytest.raises(InvalidInput):
        parse({"a": operators})


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: (
            st.lists(inner) | st.dictionaries(st.sampled_from(["a", "b.c", "", *OPERATORS, "and", "or"]), inner)
        ),
    )
)
def test_any_json_is_a_filter_or_a_fault(raw: Any) -> None:
    try:
        parsed = parse(raw)
    except InvalidInput as refused:
        paths = [fault.path for fault in refused.faults]
    else:
        paths = ["input.filter"]
        assert matches(parsed, {"a": 1}) in (True, False)
    assert paths
    assert all(path.startswith("input.filter") for path in paths)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-01-31", datetime(2026, 1, 31, tzinfo=UTC)),
        ("2026-01-31T12:30", datetime(2026, 1, 31, 12, 30, tzinfo=UTC)),
        ("2026-01-31 12:30:15.25", datetime(2026, 1, 31, 12, 30, 15, 250_000, tzinfo=UTC)),
        ("2026-01-31T12:30:15.123456789+01:00", datetime(2026, 1, 31, 11, 30, 15, 123_456, tzinfo=UTC)),
        ("2026-01-31T12:30Z", None),
        ("2026-02-30", None),
        ("2026-01-31\n", None),
        ("tomorrow", None),
        ("２０２６-01-31", None),
        (5, None),
    ],
)
def test_moments(text: Any, expected: datetime | None) -> None:
    assert moment(text) == expected


@given(filters, st.lists(payloads, min_size=1, max_size=5))
def test_qdrant_agrees_with_the_reference(filter: dict[str, Any], payloads: list[dict[str, Any]]) -> None:
    parsed = parse(filter)
    compiled = compile_qdrant(parsed, ("payload",))
    for payload in payloads:
        assert check_filter(compiled, {"payload": payload}, 1, {}) is matches(parsed, payload)


@pytest.mark.parametrize("typed", [False, True])
@pytest.mark.parametrize("type", sorted(VALUES))
def test_qdrant_agrees_on_every_operator(type: str, typed: bool) -> None:
    for name, condition in conditions(type):
        parsed = parse({"f": condition}, schema={"f": type} if typed else None)
        compiled = compile_qdrant(parsed, ("payload",))
        for payload in placements(type):
            assert check_filter(compiled, {"payload": payload}, 1, {}) is matches(parsed, payload), (
                name,
                condition,
                payload,
            )


@given(st.data(), schemas)
def test_qdrant_agrees_with_the_reference_on_typed_payloads(data: st.DataObject, schema: dict[str, str]) -> None:
    parsed = parse(data.draw(typed_filters(schema)), schema=schema)
    compiled = compile_qdrant(parsed, ("payload",))
    for payload in data.draw(st.lists(typed_payloads(schema) | payloads, min_size=1, max_size=5)):
        assert check_filter(compiled, {"payload": payload}, 1, {}) is matches(parsed, payload)


def test_every_operator_is_among_those_tried() -> None:
    tried = {name for type in VALUES for name, _ in conditions(type)}
    assert tried == {*OPERATORS, "bare", "range"}
