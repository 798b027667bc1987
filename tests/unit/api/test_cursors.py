"""Cursors are read back as they were made, and anything else is refused."""

import contextlib
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api import cursors
from shared.errors import InvalidInput


@given(st.uuids())
def test_ids(id: uuid.UUID) -> None:
    assert cursors.to_id(cursors.of_id(id)) == id


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",))))
def test_texts(text: str) -> None:
    assert cursors.to_text(cursors.of_text(text)) == text


@given(st.text(max_size=40))
def test_anything_else_is_refused(text: str) -> None:
    for read in (cursors.to_id, cursors.to_text):
        with contextlib.suppress(InvalidInput):
            read(text)


@pytest.mark.parametrize("cursor", ["!!", "YWJj", "é", "AA AA"])
def test_ids_have_one_length(cursor: str) -> None:
    with pytest.raises(InvalidInput):
        cursors.to_id(cursor)


@pytest.mark.parametrize("cursor", ["!!", "YWJj", "", "sku/0", "shoes", "é", "AA AA"])
def test_texts_carry_a_mark(cursor: str) -> None:
    with pytest.raises(InvalidInput):
        cursors.to_text(cursor)
