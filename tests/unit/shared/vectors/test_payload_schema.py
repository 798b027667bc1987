from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import InvalidInput
from shared.vectors.filters import matches, parse
from shared.vectors.payload_schema import MAX_FIELDS, check_payload, parse_schema
from tests.fakes.filters import payloads, schemas, typed_payloads

SCHEMA = {"brand": "keyword", "price": "number", "sale": "boolean", "since": "datetime", "size.eu": "number"}


def test_a_schema_reads_as_it_is_written() -> None:
    assert parse_schema(SCHEMA, "payload_schema") == SCHEMA
    assert parse_schema({}, "payload_schema") == {}
    assert parse_schema({f"k{n}": "number" for n in range(MAX_FIELDS)}, "s")


@pytest.mark.parametrize(
    ("schema", "path", "words"),
    [
        (None, "s", "must be an object"),
        (["brand"], "s", "must be an object"),
        ({f"k{n}": "number" for n in range(MAX_FIELDS + 1)}, "s", f"up to {MAX_FIELDS}"),
        ({"price": "integer"}, "s.price", "one of keyword, number, boolean, datetime"),
        ({"price": ["number"]}, "s.price", "one of keyword"),
        ({"price": None}, "s.price", "one of keyword"),
        ({"": "number"}, "s.", "dotted path"),
        ({"a..b": "number"}, "s.a..b", "dotted path"),
        ({'a"b': "number"}, 's.a"b', "double quotes"),
        ({"x" * 513: "number"}, f"s.{'x' * 513}", "512"),
        ({"or": "number"}, "s.or", "filter language"),
        ({"size": "keyword", "size.eu": "number"}, "s.size.eu", "'size'"),
        ({"a.b.c": "keyword", "a": "number"}, "s.a.b.c", "'a'"),
    ],
)
def test_a_fault_of_a_schema_names_its_path(schema: Any, path: str, words: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        parse_schema(schema, "s")
    (fault,) = refused.value.faults
    assert fault.path == path
    assert words in fault.message


def test_every_fault_of_a_schema_is_told() -> None:
    with pytest.raises(InvalidInput) as refused:
        parse_schema({"a": 1, "or": "x", "b": "number"}, "s")
    assert [fault.path for fault in refused.value.faults] == ["s.a", "s.or", "s.or"]


@pytest.mark.parametrize(
    "payload",
    [
        {},
        {"brand": "x", "price": 1, "sale": False, "since": "2026-01-31", "size": {"eu": 42.5}},
        {"brand": ["x", "y"], "price": [1, 2.5], "sale": [True], "since": ["2026-01-31T12:00:00Z"], "size": {"eu": []}},
        {"brand": None, "price": None, "size": {"eu": None}},
        {"size": None},
        {"size": "42"},  # `size` itself is not declared
        {"undeclared": {"any": [1, "thing"]}},
    ],
)
def test_payloads_that_fit(payload: dict[str, Any]) -> None:
    assert check_payload(payload, SCHEMA) == []


@pytest.mark.parametrize(
    ("payload", "path", "words"),
    [
        ({"brand": 5}, "payload.brand", "must be text: 'brand' is a keyword field"),
        ({"brand": {"name": "x"}}, "payload.brand", "must be text"),
        ({"price": "5"}, "payload.price", "number"),
        ({"price": True}, "payload.price", "number"),
        ({"price": 2**53}, "payload.price", "2^53"),
        ({"sale": 1}, "payload.sale", "true or false"),
        ({"since": "tomorrow"}, "payload.since", "ISO 8601"),
        ({"since": 2026}, "payload.since", "ISO 8601"),
        ({"size": {"eu": "42"}}, "payload.size.eu", "'size.eu' is a number field"),
        ({"price": [1, "2", 3]}, "payload.price.1", "number"),
        ({"price": [None]}, "payload.price.0", "number"),
        ({"price": [[1]]}, "payload.price.0", "number"),
    ],
)
def test_values_of_the_wrong_type_are_named(payload: dict[str, Any], path: str, words: str) -> None:
    (fault,) = check_payload(payload, SCHEMA)
    assert fault.path == path
    assert words in fault.message


def test_a_payload_in_its_place() -> None:
    faults = check_payload({"price": "x", "sale": ["y", True, "z"]}, SCHEMA, "input.items.3.payload")
    assert [fault.path for fault in faults] == [
        "input.items.3.payload.price",
        "input.items.3.payload.sale.0",
        "input.items.3.payload.sale.2",
    ]


@given(schemas, payloads)
def test_any_payload_fits_or_is_told_why(schema: dict[str, str], payload: dict[str, Any]) -> None:
    assert parse_schema(schema, "s") == schema
    assert all(fault.path.startswith("payload.") for fault in check_payload(payload, schema))


@given(st.data(), schemas)
def test_typed_payloads_fit(data: st.DataObject, schema: dict[str, str]) -> None:
    assert check_payload(data.draw(typed_payloads(schema)), schema) == []


@pytest.mark.parametrize(
    ("filter", "path", "words"),
    [
        ({"colour": "red"}, "f.colour", "brand (keyword), price (number), sale (boolean), since (datetime), size.eu"),
        ({"size": {"exists": True}}, "f.size", "no field"),
        ({"brand": 5}, "f.brand", "must be text: 'brand' is a keyword field"),
        ({"brand": {"gt": 5}}, "f.brand.gt", "'brand' is a keyword field"),
        ({"brand": {"lt": "2026-01-31"}}, "f.brand.lt", "for number and datetime fields"),
        ({"brand": {"in": ["a", 5]}}, "f.brand.in.1", "must be text"),
        ({"price": "5"}, "f.price", "number"),
        ({"price": True}, "f.price", "number"),
        ({"price": {"ne": "x"}}, "f.price.ne", "number"),
        ({"price": {"contains": "x"}}, "f.price.contains", "number"),
        ({"price": {"not": {"eq": "x"}}}, "f.price.not.eq", "number"),
        ({"price": {"not": False}}, "f.price.not", "number"),
        ({"price": {"gte": "2026-01-31"}}, "f.price.gte", "'price' is a number field"),
        ({"price": {"in": [1, 2, "3"]}}, "f.price.in.2", "number"),
        ({"price": float("inf")}, "f.price", "finite"),
        ({"sale": 1}, "f.sale", "true or false"),
        ({"sale": {"lte": True}}, "f.sale.lte", "'sale' is a boolean field"),
        ({"since": "tomorrow"}, "f.since", "ISO 8601"),
        ({"since": {"gt": "soon"}}, "f.since.gt", "ISO 8601"),
        ({"since": {"gt": 5}}, "f.since.gt", "'since' is a datetime field"),
        ({"since": {"in": ["2026-01-31", "soon"]}}, "f.since.in.1", "ISO 8601"),
        ({"size.eu": "42"}, "f.size.eu", "'size.eu' is a number field"),
        ({"or": [{"price": 1}, {"not": {"brand": 1}}]}, "f.or.1.not.brand", "text"),
        ({"brand": {"exists": "yes"}}, "f.brand.exists", "true or false"),
        ({"price": [1]}, "f.price", '{"in": [...]}'),
    ],
)
def test_a_condition_that_does_not_fit_the_schema(filter: Any, path: str, words: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        parse(filter, "f", SCHEMA)
    (fault,) = refused.value.faults
    assert fault.path == path
    assert words in fault.message


def test_a_schema_without_fields_takes_no_conditions() -> None:
    assert matches(parse({}, "f", {}), {"x": 1})
    with pytest.raises(InvalidInput) as refused:
        parse({"x": 1}, "f", {})
    assert "known fields: none" in refused.value.faults[0].message


@pytest.mark.parametrize(
    "filter",
    [
        {"since": "2026-01-31T13:00:00+01:00"},
        {"since": {"eq": "2026-01-31T12:00"}},
        {"since": {"contains": "2026-01-31 12:00:00"}},
        {"since": {"in": ["2025-01-01", "2026-01-31T12:00:00.000Z"]}},
        {"since": {"ne": "2026-01-31"}},
    ],
)
def test_datetime_fields_are_compared_as_moments(filter: dict[str, Any]) -> None:
    noon = {"since": "2026-01-31T12:00:00Z"}
    assert matches(parse(filter, "f", SCHEMA), noon)
    assert not matches(parse({"not": filter}, "f", SCHEMA), noon)
