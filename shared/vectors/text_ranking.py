"""How texts are ranked against the words of a query, the same for every store.

The score is a sum of weights. It is added up in integers, which come to the same in any order and in SQL: sums of
floats do not, and texts that are equally good would change places.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence

from shared.vectors.protocol import TextHit
from shared.vectors.words import MAX_WORDS, weight

SCALE = 1_000_000_000
"""Parts that a weight is rounded to: the least one of a million texts, 5e-7, still counts."""


def sought(words: Sequence[str]) -> list[str]:
    """The words that are looked for: the first `MAX_WORDS` distinct ones."""
    return list(dict.fromkeys(words))[:MAX_WORDS]


def worths(found: Mapping[str, int], items: int) -> dict[str, int]:
    """What each word is worth, in parts of `SCALE`, rarest first. `found`: how many of the `items` have the word.

    Words that none has are left out. A store that counts the items apart from the words may have counted fewer of
    them by then than have a word; a worth below zero would turn the ranking round.
    """
    items = max([items, *found.values()])
    rarest_first = sorted((count, word) for word, count in found.items() if count)
    return {word: round(weight(count, items) * SCALE) for count, word in rarest_first}


def ranked(candidates: Iterable[tuple[str, Collection[str]]], worths: Mapping[str, int], top_k: int) -> list[TextHit]:
    """The best `top_k` of `candidates` (item id, distinct words of its text), in order: the sum of the matched words'
    worths, then the shorter text, then the id.
    """
    scored = []
    for id, words in candidates:
        held = set(words)
        total = sum(worth for word, worth in worths.items() if word in held)
        scored.append((-total, len(held), id))
    return [TextHit(id, -negated / SCALE) for negated, _, id in sorted(scored)[:top_k]]
