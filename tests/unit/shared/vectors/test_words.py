"""How texts fall into words, and what a word is worth."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.vectors.words import MAX_LENGTH, weight, words


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("SKU-1042 Größe", ["sku", "1042", "grösse"]),
        ("snake_case, it's 3.5 kg", ["snake", "case", "it", "s", "3", "5", "kg"]),
        ("red Red RED", ["red"]),
        ("ﬁne ＡＢＣ x²", ["fine", "abc", "x2"]),
        ("-- … ❤️ _", []),
        ("", []),
        ("靴 赤い", ["靴", "赤い"]),
        ("x" * 100, ["x" * MAX_LENGTH]),
    ],
)
def test_words_are_runs_of_letters_and_digits(text: str, found: list[str]) -> None:
    assert words(text) == found


@pytest.mark.parametrize("word", ["किताब", "สีน้ำเงิน", "தமிழ்", "كِتَاب", "ΐ", "J̌ava", "İstanbul"])
def test_a_mark_belongs_to_the_letter_that_it_stands_on(word: str) -> None:
    """Most scripts of India write vowels as marks: cut there, every text would have every word."""
    assert len(words(word)) == 1
    assert words(f"{word}-1042") == [*words(word), "1042"]


@pytest.mark.parametrize(("text", "found"), [("❤️shoe", ["shoe"]), ("size 4️⃣", ["size", "4"]), ("\u0301a", ["a"])])
def test_a_mark_without_a_letter_is_none(text: str, found: list[str]) -> None:
    assert words(text) == found


def test_it_does_not_matter_how_a_letter_is_encoded() -> None:
    assert words("cafe\u0301") == words("caf\u00e9") == ["café"]


@given(st.text())
def test_words_of_words_are_the_same(text: str) -> None:
    found = words(text)
    assert len(set(found)) == len(found)
    assert all(any(character.isalnum() for character in word) for word in found)
    assert words(text.replace(" ", "  ")) == found


@given(st.integers(1, 10**6), st.integers(0, 10**6))
def test_rarer_words_are_worth_more_and_none_less_than_nothing(found: int, others: int) -> None:
    items = found + others
    assert weight(found, items) >= 0
    assert weight(found, items) < weight(found - 1, items) if found > 1 else True
    assert weight(found, items) == pytest.approx(math.log((items + 1) / (found + 0.5)))
