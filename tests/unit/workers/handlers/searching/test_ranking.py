"""Fusing two rankings."""

from workers.handlers.searching.ranking import fused


def ids(by_vector: list[str], by_text: list[str]) -> list[str]:
    return [id for id, _ in fused(by_vector, by_text)]


def test_scores_are_sums_of_reciprocal_ranks() -> None:
    assert dict(fused(["a", "b"], ["b", "c"])) == {"a": 1 / 61, "b": 1 / 62 + 1 / 61, "c": 1 / 62}


def test_what_both_rankings_have_comes_before_what_one_has() -> None:
    assert ids(["a", "b", "c"], ["x", "y", "c"])[0] == "c"


def test_of_equal_scores_the_better_in_words_comes_first() -> None:
    assert ids(["near", "a"], ["named", "b"]) == ["named", "near", "b", "a"]
    assert ids(["a", "x", "b"], ["b", "x", "a"])[:2] == ["b", "a"]


def test_one_ranking_alone_keeps_its_order() -> None:
    assert ids(["b", "a", "c"], []) == ["b", "a", "c"]
    assert ids([], ["b", "a", "c"]) == ["b", "a", "c"]
    assert ids([], []) == []
