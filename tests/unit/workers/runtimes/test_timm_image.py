"""timm models give what timm gives, and say that they cannot read."""

import numpy as np
import pytest

from shared.errors import ErrorCode, PermanentJobError
from shared.model_registry import ModelSpec
from tests.unit.workers.runtimes.references import pictures, save_timm, timm_images, worst_cosine
from workers.runtimes.device import Compute, prepare_torch
from workers.runtimes.load import load_embedding

_FP32 = Compute("cpu", "fp32", "test")


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> ModelSpec:
    prepare_torch(_FP32)
    return save_timm(tmp_path_factory.mktemp("timm") / "resnet18")


def test_pictures_match_timm_in_both_precisions(spec: ModelSpec) -> None:
    images = [image.convert("RGB") for image in pictures()]
    expected = timm_images(spec, images)
    for compute, bar in ((_FP32, 0.99999), (Compute("cpu", "bf16", "test"), 0.999)):
        runtime = load_embedding(spec, compute)
        vectors = runtime.encode_images(np.stack([runtime.preprocess(image) for image in images]))
        assert (runtime.dimension, runtime.decode_hint) == (512, 235)
        assert worst_cosine(vectors, expected) >= bar
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)


def test_texts_are_refused(spec: ModelSpec) -> None:
    runtime = load_embedding(spec, _FP32)
    assert not runtime.reads_text
    for ask in (runtime.encode_texts, runtime.truncated):
        with pytest.raises(PermanentJobError) as caught:
            ask(["a cat"])
        assert caught.value.code == ErrorCode.MODEL_MISMATCH


def test_no_pictures_give_no_vectors(spec: ModelSpec) -> None:
    runtime = load_embedding(spec, _FP32)
    assert runtime.encode_images(np.empty((0, 3, 224, 224), dtype=np.uint8)).shape == (0, 512)
