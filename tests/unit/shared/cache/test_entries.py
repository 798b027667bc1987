"""Keys and sealed values."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.cache.entries import PREFIX, key_of, seal, unseal

KEY = f"{PREFIX}result:1"


@given(st.binary(max_size=100))
def test_what_was_sealed_is_read(content: bytes) -> None:
    assert unseal(KEY, seal(KEY, content)) == content


@given(st.binary(max_size=50), st.data())
def test_a_changed_value_is_unknown(content: bytes, data: st.DataObject) -> None:
    value = bytearray(seal(KEY, content))
    place = data.draw(st.integers(0, len(value) - 1))
    value[place] ^= data.draw(st.integers(1, 255))
    assert unseal(KEY, bytes(value)) is None


@given(st.binary(max_size=50), st.integers(0, 65))
def test_a_cut_value_is_unknown(content: bytes, length: int) -> None:
    value = seal(KEY, content)
    assert unseal(KEY, value[:length]) == (content if length >= len(value) else None)


def test_a_value_belongs_to_its_key() -> None:
    assert unseal(f"{PREFIX}result:2", seal(KEY, b"x")) is None


@pytest.mark.parametrize(
    ("one", "other"),
    [([1], ["1"]), (["ab", "c"], ["a", "bc"]), ([{"a": 1}], [{"a": 1, "b": None}]), ([[1], 2], [1, [2]]), ([1], [1.0])],
)
def test_other_parts_have_another_key(one: list[Any], other: list[Any]) -> None:
    assert key_of("x", one) != key_of("x", other)
    assert key_of("x", one) != key_of("y", one)


def test_the_order_of_fields_does_not_matter() -> None:
    assert key_of("x", [{"a": 1, "b": {"c": 1, "d": 2}}]) == key_of("x", [{"b": {"d": 2, "c": 1}, "a": 1}])


def test_what_is_nested_too_deeply_has_no_key() -> None:
    deep: Any = 1
    for _ in range(300):
        deep = [deep]
    assert key_of("x", [deep]) is None
