"""How texts fall into words, the same for every store: what `text_match` compares."""

import math
import re
import unicodedata

MAX_WORDS = 32
"""Distinct words of a query that are looked for."""
MAX_LENGTH = 64
"""Characters of a word that are kept."""
_WORD = re.compile(r"[^\W_]+")


def words(text: str) -> list[str]:
    """The distinct words of a text in the order of their first use: runs of letters and digits, without case or
    typographic variants. "SKU-1042 Größe" has `sku`, `1042` and `grösse`.
    """
    plain = unicodedata.normalize("NFKC", text).casefold()
    return list(dict.fromkeys(word[:MAX_LENGTH] for word in _WORD.findall(plain)))


def weight(found: int, items: int) -> float:
    """What a word is worth that `found` of `items` texts have: the inverse document frequency of BM25, which never
    falls below zero (Robertson and Zaragoza, 2009, with Lucene's +1).
    """
    return math.log(1 + (items - found + 0.5) / (found + 0.5))
