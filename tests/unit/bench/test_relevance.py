"""The measuring of cutoffs, on trials small enough to reckon by hand."""

import numpy as np
import pytest

from bench.figures.calibration import figures_of
from bench.relevance import KINDS, Trial, best_cutoff, f1, measure, of_one_cutoff, of_own_cutoffs, scores, trial_of

FITS = np.array([[True, True, False, False], [False, True, False, False]])


def test_f1_counts_what_was_found_and_what_was_missed() -> None:
    score = np.array([[0.9, 0.1, 0.8, 0.0], [0.1, 0.9, 0.0, 0.0]])
    assert f1(score, FITS, 0.5).tolist() == [0.5, 1.0]
    assert f1(score, FITS, 2.0).tolist() == [0, 0]


def test_the_best_cutoff_lies_between_what_fits_and_what_does_not() -> None:
    score = np.linspace(0, 1, 100)[None]
    cutoff = best_cutoff(score, score > 0.9)
    assert f1(score, score > 0.9, cutoff) == 1
    assert best_cutoff(np.append(score, [[-np.inf]], axis=1), np.append(score > 0.9, [[False]], axis=1)) > 0.8


def trial(shift: float) -> Trial:
    """Eight keywords, whose kinds of query differ by `shift` in what they score on everything."""
    rng = np.random.default_rng(0)
    rows = 8 * len(KINDS)
    fits = np.zeros((rows, 200), dtype=bool)
    fits[:, :10] = True
    offsets = shift * (np.arange(rows) % len(KINDS))[:, None]
    cosines = rng.normal(0.1, 0.02, (rows, 200)) + np.where(fits, 0.15, 0) + offsets
    return Trial(cosines, fits, np.ones_like(fits))


def test_a_flat_cutoff_serves_where_all_queries_score_alike() -> None:
    (result,) = measure(trial(0), 1)
    assert min(result["all"]["cosine"], result["all"]["relevance"]) > 0.9


def test_a_flat_cutoff_fails_where_they_do_not_and_a_relative_one_serves_on() -> None:
    (result,) = measure(trial(0.2), 1)
    assert result["all"]["cosine"] < 0.6
    assert result["all"]["relevance"] > 0.9
    assert result["texts"]["cosine"] > 0.9


def test_no_cutoff_beats_each_querys_own() -> None:
    alike = trial(0)
    cosine = scores(alike)["cosine"]
    half = np.arange(len(cosine)) % 2 == 0
    assert of_own_cutoffs(alike) >= of_one_cutoff(cosine, alike.fits, half)[0]


def test_queries_do_not_find_the_item_that_they_ask_by() -> None:
    rng = np.random.default_rng(0)
    has = np.zeros((3, 20), dtype=bool)
    has[0, :5] = has[1, 3:9] = has[2, 10:] = True
    made = trial_of(rng.normal(size=(20, 4)), rng.normal(size=(3, 4)), has)
    assert made.cosines.shape == (3 * len(KINDS), 20)
    assert made.shown.sum(axis=1).tolist() == [20, 19, 19, 20] * 3
    assert not (made.fits & ~made.shown).any()


def test_figures_are_medians_over_the_splits() -> None:
    names = ("cosine", "relevance", "z")
    split: dict[str, dict[str, float]] = {"all": {}, "texts": {}}
    for index, name in enumerate(names):
        for part in split.values():
            part |= {name: 0.1 * (index + 1), f"{name} cutoff": 0.5}
    pooled, texts = figures_of({"queries": 4, "splits": [split], "own cutoffs": 0.9})
    assert pooled.samples.median == pytest.approx(20)
    assert [beside.median for beside in texts.beside] == pytest.approx([10, 30])
    assert "90.0 %" in pooled.note
