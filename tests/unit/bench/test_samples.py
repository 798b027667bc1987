"""Medians, spreads, ratios of rounds side by side, and the order in which rounds run."""

import pytest

from bench.samples import Samples, percentile, rounds


def test_the_median_and_the_spread_of_rounds() -> None:
    samples = Samples("x", "s", [1.0, 2.0, 1.5])
    assert samples.median == 1.5
    assert samples.spread == pytest.approx(1 / 3)


def test_a_ratio_pairs_rounds_that_ran_side_by_side() -> None:
    fast, slow = Samples("a", "jobs/s", [10, 20, 40]), Samples("b", "jobs/s", [5, 10, 20])
    assert fast.over(slow, "ratio").values == [2, 2, 2]


def test_percentiles_are_values_that_occurred() -> None:
    assert percentile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert percentile([1.0, 2.0], 0.99) == 2.0


def test_sides_alternate_and_the_first_turn_does_not_count() -> None:
    order: list[str] = []
    samples = Samples("a", "s")

    def a() -> None:
        order.append("a")
        samples.add(len(order))

    rounds(2, [samples], a, lambda: order.append("b"))
    assert order == ["a", "b", "a", "b", "a", "b"]
    assert samples.values == [3, 5]
