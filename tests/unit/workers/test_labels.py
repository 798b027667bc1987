"""Labels as vectors, and scores: the formulas beside numpy, and what is worked out only once."""

import tracemalloc
from collections.abc import Sequence

import numpy as np
import pytest

from tests.fakes.models import FakeEmbedder
from workers.labels import PROMPT_BATCH, LabelCache, LabelVectors
from workers.runtimes.protocol import Vectors

LABELS = ["red", "green", "blue"]


def unit(rows: Sequence[Sequence[float]]) -> Vectors:
    array = np.array(rows, dtype=np.float32)
    return array / np.linalg.norm(array, axis=1, keepdims=True)


def made(
    cache: LabelCache,
    model: FakeEmbedder,
    labels: Sequence[str] = LABELS,
    templates: Sequence[str] = ("a {}",),
    *,
    tenant: str = "t",
    weights: str = "w",
) -> LabelVectors:
    return cache.get(model, labels, templates, tenant=tenant, weights=weights, encode=model.encode_texts)


def side(*, scale: float, bias: float | None = None) -> LabelVectors:
    rows = unit([[1, 0, 0], [1, 1, 0], [0, 0, 1], [1, 1, 1]])
    return LabelVectors(("a", "b", "c"), rows[:3], rows[3], scale, bias)


PICTURES = unit([[2, 1, 0], [0, 1, 5]])


def test_scores_are_the_softmax_at_the_models_temperature() -> None:
    labels = side(scale=31.5)
    cosines = PICTURES @ labels.vectors.T
    expected = np.exp(31.5 * cosines) / np.exp(31.5 * cosines).sum(axis=1, keepdims=True)
    assert labels.scores(PICTURES, multi_label=False) == pytest.approx(expected, rel=1e-5)
    hotter = side(scale=1.0).scores(PICTURES, multi_label=False)
    assert hotter.max() < labels.scores(PICTURES, multi_label=False).max()


def test_several_labels_are_judged_against_nothing_in_particular() -> None:
    labels = side(scale=10.0)
    margins = PICTURES @ labels.vectors.T - (PICTURES @ labels.neutral)[:, None]
    assert labels.scores(PICTURES, multi_label=True) == pytest.approx(1 / (1 + np.exp(-10 * margins)), rel=1e-5)


def test_a_model_with_a_bias_has_its_own_sigmoid() -> None:
    labels = side(scale=10.0, bias=-5.0)
    expected = 1 / (1 + np.exp(-(10 * (PICTURES @ labels.vectors.T) - 5)))
    assert labels.scores(PICTURES, multi_label=True) == pytest.approx(expected, rel=1e-5)
    assert labels.scores(PICTURES, multi_label=False).sum(axis=1) == pytest.approx(1)


def test_large_scales_overflow_nothing() -> None:
    with np.errstate(all="raise", under="ignore"):
        for multi_label in (False, True):
            scores = side(scale=5_000.0).scores(PICTURES, multi_label=multi_label)
            assert np.isfinite(scores).all()


def test_templates_are_averaged_as_unit_vectors() -> None:
    model = FakeEmbedder()
    labels = made(LabelCache(), model, ["red", "blue"], ["a {}", "the {} one"])
    for row, label in enumerate(["red", "blue"]):
        mean = model.encode_texts([f"a {label}", f"the {label} one"]).mean(axis=0)
        assert labels.vectors[row] == pytest.approx(mean / np.linalg.norm(mean), abs=1e-6)
    neutral = model.encode_texts(["a thing", "the thing one"]).mean(axis=0)
    assert labels.neutral == pytest.approx(neutral / np.linalg.norm(neutral), abs=1e-6)
    assert (labels.scale, labels.bias) == (model.logit_scale, model.logit_bias)


def test_the_text_side_is_worked_out_once() -> None:
    cache, model = LabelCache(), FakeEmbedder()
    first = made(cache, model)
    assert made(cache, model) is first
    assert model.text_batches == [4]
    for other in (
        made(cache, model, ["red"]),
        made(cache, model, templates=["the {}"]),
        made(cache, model, weights="others"),
        made(cache, model, tenant="other"),
    ):
        assert other is not first
    assert len(model.text_batches) == 5


def test_what_is_kept_stays_within_its_bytes() -> None:
    model = FakeEmbedder()
    one = made(LabelCache(), model, ["label 0"]).bytes
    cache = LabelCache(budget_bytes=2 * one)
    kept = [made(cache, model, [f"label {number}"]) for number in range(3)]
    assert made(cache, model, ["label 2"]) is kept[2]
    assert made(cache, model, ["label 1"]) is kept[1]
    assert made(cache, model, ["label 0"]) is not kept[0], "the least recently used went"
    tiny = LabelCache(budget_bytes=1)
    assert made(tiny, model) is not made(tiny, model), "what does not fit is not kept"


def test_templates_are_not_kept_beside_the_vectors() -> None:
    cache, model = LabelCache(budget_bytes=100_000), FakeEmbedder()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for number in range(40):
            made(cache, model, ["red"], [f"{number}-{other}{'x' * 480}{{}}" for other in range(100)])
        kept = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert kept < 400_000, "the templates alone are 2,000,000"


def test_many_prompts_come_in_batches_and_can_be_stopped() -> None:
    model = FakeEmbedder()
    many = [f"label {number}" for number in range(2 * PROMPT_BATCH)]
    made(LabelCache(), model, many)
    assert model.text_batches == [PROMPT_BATCH, PROMPT_BATCH, 1]

    def stop() -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        LabelCache().get(model, many, ["{}"], tenant="t", weights="w", encode=model.encode_texts, checkpoint=stop)
