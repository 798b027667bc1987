"""How texts are ranked by the words that they have."""

from shared.vectors.text_ranking import ranked, sought, worths
from shared.vectors.words import MAX_WORDS


def ids(candidates: list[tuple[str, list[str]]], worth: dict[str, int], top_k: int = 10) -> list[str]:
    return [hit.id for hit in ranked(candidates, worth, top_k)]


def test_a_rare_word_outweighs_a_common_one_and_both_are_best() -> None:
    worth = worths({"sku": 9, "1042": 1, "absent": 0}, 10)
    assert list(worth) == ["1042", "sku"]
    texts = [("common", ["sku"]), ("both", ["sku", "1042", "boot"]), ("rare", ["1042", "red", "boot", "left"])]
    assert ids(texts, worth) == ["both", "rare", "common"]


def test_of_equal_sums_the_shorter_text_comes_first_then_the_id() -> None:
    assert ids([("c", ["red"]), ("b", ["red", "cup"]), ("a", ["red", "mug"])], {"red": 5}) == ["c", "a", "b"]
    assert ids([("c", ["red"]), ("b", ["red"])], {"red": 5}, top_k=1) == ["b"]


def test_a_word_that_all_have_is_never_worth_less_than_nothing() -> None:
    """A store that counts items and words one after the other may find more of these than of those."""
    assert all(worth > 0 for worth in worths({"sku": 11, "red": 12}, 10).values())


def test_only_so_many_words_are_looked_for() -> None:
    given = [f"word{number}" for number in range(MAX_WORDS + 5)]
    assert sought(["again", "again", *given]) == ["again", *given[: MAX_WORDS - 1]]
