"""The fake keeps the promises that handlers' tests lean on."""

import numpy as np
import pytest
from PIL import Image

from shared.errors import ErrorCode, PermanentJobError
from tests.fakes.models import FakeEmbedder
from workers.runtimes.protocol import EmbeddingRuntime


def test_vectors_are_stable_unit_and_follow_content() -> None:
    fake: EmbeddingRuntime = FakeEmbedder()
    red, blue = (fake.preprocess(Image.new("RGB", (30, 20), colour)) for colour in ("red", "blue"))
    pictures = fake.encode_images(np.stack([red, blue, red]))
    texts = fake.encode_texts(["red", "blue", "a red car", "a red bus"])
    assert pictures.dtype == texts.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(pictures, axis=1), 1, rtol=1e-6)
    np.testing.assert_array_equal(pictures[0], pictures[2])
    np.testing.assert_allclose(texts[0, :2], [-0.15517, 0.31419], atol=1e-4)
    assert pictures[0] @ texts[0] > pictures[0] @ texts[1]
    assert pictures[1] @ texts[1] > pictures[1] @ texts[0]
    assert texts[2] @ texts[3] > 0.4
    assert fake.encode_images(np.empty((0, 3, 8, 8), dtype=np.uint8)).shape == (0, 16)


def test_long_texts_and_models_without_text() -> None:
    assert FakeEmbedder().truncated(["short", "word " * 9]) == [False, True]
    with pytest.raises(PermanentJobError) as caught:
        FakeEmbedder(reads_text=False).encode_texts(["x"])
    assert caught.value.code == ErrorCode.MODEL_MISMATCH
