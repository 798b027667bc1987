"""How texts fall into words, the same for every store: what `text_match` compares."""

import math
import unicodedata
from collections.abc import Iterator

MAX_WORDS = 32
"""Distinct words of a query that are looked for."""
MAX_LENGTH = 64
"""Characters of a word that are kept."""
_MARKS = ("Mn", "Mc")
_VARIATION_SELECTORS = frozenset(map(chr, range(0xFE00, 0xFE10)))
"""How to draw the character before: they change no word."""


def words(text: str) -> list[str]:
    """The distinct words of a text in the order of their first use: runs of letters and digits with the marks that
    stand on them, without case or typographic variants. "SKU-1042 Größe" has `sku`, `1042` and `grösse`.
    """
    plain = unicodedata.normalize("NFKC", text).casefold()
    return list(dict.fromkeys(word[:MAX_LENGTH] for word in "".join(_spaced(plain)).split()))


def weight(found: int, items: int) -> float:
    """What a word is worth that `found` of `items` texts have: the inverse document frequency of BM25, which never
    falls below zero (Robertson and Zaragoza, 2009, with Lucene's +1).
    """
    return math.log(1 + (items - found + 0.5) / (found + 0.5))


def _spaced(text: str) -> Iterator[str]:
    """The text with a space for all that is in no word. Vowels of many scripts are marks on the letter before."""
    in_word = False
    for character in text:
        is_mark = unicodedata.category(character) in _MARKS and character not in _VARIATION_SELECTORS
        in_word = character.isalnum() or (in_word and is_mark)
        yield character if in_word else " "
