"""Relevance: where a cosine lies between what is usual and what is best."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from workers.collection_samples import Sample
from workers.handlers.searching.relevance import UNKNOWN, chance_best, relevances, scale

QUERY = np.array([1, 0], dtype=np.float32)


def sample(cosines: NDArray[np.float64] | list[float], items: int | None = None) -> Sample:
    """Unit vectors with these cosines to the query."""
    x = np.asarray(cosines, dtype=np.float64)
    return Sample(np.stack([x, np.sqrt(1 - x**2)], axis=1).astype(np.float32), items or len(x))


def usual(count: int = 1_000, middle: float = 0.2, spread: float = 0.05) -> NDArray[np.float64]:
    return np.clip(np.random.default_rng(3).normal(middle, spread, count), -1, 1)


def test_the_median_means_nothing_and_the_best_all() -> None:
    low, middle, best = relevances([0.1, 0.2, 0.9], 0.9, sample(usual()), QUERY)
    assert (low, best) == (0, 1)
    assert middle == pytest.approx(0, abs=0.01)


def test_the_same_cosine_means_less_where_all_score_higher() -> None:
    (of_a_text,) = relevances([0.45], 0.5, sample(usual(middle=0.2)), QUERY)
    (of_a_picture,) = relevances([0.45], 0.9, sample(usual(middle=0.4)), QUERY)
    assert of_a_text > 0.8
    assert of_a_picture < 0.15


def test_where_nothing_stands_out_nothing_is_sure() -> None:
    background = usual()
    best = float(np.quantile(background, 0.98))  # less than the best of a thousand draws
    (relevance,) = relevances([best], best, sample(background), QUERY)
    assert 0.5 < relevance < 0.8


def test_many_matches_do_not_pass_as_the_usual_spread() -> None:
    alone = scale(usual(), 0.6, 1_000)
    crowded = scale(np.concatenate([usual(900), np.full(100, 0.6)]), 0.6, 1_000)
    assert crowded == pytest.approx(alone, abs=0.02)


def test_nothing_to_compare_with_is_neither_yes_nor_no() -> None:
    for background in ([0.3], [0.3] * 20):
        assert relevances([0.3], 0.3, sample(background), QUERY) == [UNKNOWN]
    empty = Sample(np.zeros((0, 2), dtype=np.float32), 0)
    assert relevances([0.3, 0.2], 0.3, empty, QUERY) == [UNKNOWN, UNKNOWN]


def test_one_that_differs_from_many_that_do_not_is_the_one() -> None:
    assert relevances([0.8, 0.3], 0.8, sample([0.3] * 19 + [0.8]), QUERY) == [1, pytest.approx(0, abs=1e-6)]


def test_chance_reaches_higher_among_more_items() -> None:
    reached = [chance_best(items) for items in (1, 20, 1_000, 1_000_000, 10**9)]
    assert reached == sorted(reached)
    assert reached[0] == 0
    assert reached[2] == pytest.approx(3.09, abs=0.01)


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=20), st.lists(st.floats(-1, 1), min_size=1, max_size=20))
def test_relevance_is_a_share_that_grows_with_the_cosine(background: list[float], cosines: list[float]) -> None:
    ordered = sorted(cosines)
    found = relevances(ordered, max([*background, *ordered]), sample(background), QUERY)
    assert all(0 <= relevance <= 1 for relevance in found)
    assert found == sorted(found)
