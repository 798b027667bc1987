"""Bodies: what is JSON, what can be stored, and where it cannot."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.body import parse_json
from api.errors import Malformed
from shared.errors import InvalidInput

texts = st.text(st.characters(codec=None, categories=None), max_size=8)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)


def storable(value: Any) -> bool:
    if isinstance(value, str):
        return "\0" not in value and not any("\ud800" <= character <= "\udfff" for character in value)
    if isinstance(value, dict):
        return all(storable(key) and storable(inner) for key, inner in value.items())
    return all(storable(inner) for inner in value) if isinstance(value, list) else True


@given(values)
def test_json_is_read_or_refused_for_what_cannot_be_stored(value: Any) -> None:
    body = json.dumps(value).encode()
    merged = json.loads(body)  # two halves of a pair that stand side by side are a character
    if storable(merged):
        assert parse_json(body) == merged
    else:
        with pytest.raises(InvalidInput) as caught:
            parse_json(body)
        assert caught.value.faults


@given(st.binary(max_size=64))
def test_any_bytes_are_json_or_malformed(body: bytes) -> None:
    try:
        parse_json(body)
    except (Malformed, InvalidInput):
        return


def test_faults_name_every_place() -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_json(rb'{"a": ["x", "\u0000"], "b": {"c": "\u0000"}, "d\u0000": 1}')
    assert sorted(fault.path for fault in caught.value.faults) == ["a.1", "b.c", r"d\x00"]
