"""open_clip models give what open_clip gives, whatever is done to be faster than it."""

import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shared.model_registry import ModelRegistry, ModelSpec
from tests.unit.workers.runtimes.references import (
    ROOT,
    TEXTS,
    TOWER,
    OpenClip,
    pictures,
    save_open_clip,
    worst_cosine,
)
from workers.labels import LabelCache
from workers.runtimes import imports
from workers.runtimes.clip import ClipRuntime
from workers.runtimes.device import Compute, prepare_torch
from workers.runtimes.protocol import EmbeddingRuntime, Vectors

_FP32 = Compute("cpu", "fp32", "test")
_BF16 = Compute("cpu", "bf16", "test")
_VIT = {"image_size": 32, "patch_size": 16, "width": 64, "layers": 2, "head_width": 32}


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> None:
    prepare_torch(_FP32)


@pytest.fixture(scope="module")
def starter_spec() -> ModelSpec:
    return ModelRegistry.load(ROOT / "models.toml").get("starter-clip")


@pytest.fixture(scope="module")
def starter(starter_spec: ModelSpec) -> ClipRuntime:
    return ClipRuntime(starter_spec, _FP32)


@pytest.fixture(scope="module")
def reference(starter_spec: ModelSpec) -> OpenClip:
    return OpenClip(starter_spec.source)


def _encode(runtime: EmbeddingRuntime, images: list[Image.Image]) -> Vectors:
    return runtime.encode_images(np.stack([runtime.preprocess(image) for image in images]))


def test_starter_pictures_match_open_clip(starter: ClipRuntime, reference: OpenClip) -> None:
    vectors = _encode(starter, pictures())
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
    assert worst_cosine(vectors, reference.images(pictures())) >= 0.9999


def test_large_pictures_match_open_clip(starter: ClipRuntime, reference: OpenClip) -> None:
    images = [
        image.resize(size) for image, size in zip(pictures(), [(1023, 767), (2003, 3001), (640, 480)], strict=False)
    ]
    assert worst_cosine(_encode(starter, images), reference.images(images)) >= 0.9999


def test_starter_texts_match_open_clip(starter: ClipRuntime, reference: OpenClip) -> None:
    assert starter._text.trims
    for texts in (TEXTS, TEXTS[:1], TEXTS[3:4]):
        assert worst_cosine(starter.encode_texts(texts), reference.texts(texts)) >= 0.99999


def test_starter_tells_about_itself(starter: ClipRuntime, starter_spec: ModelSpec) -> None:
    assert (starter.dimension, starter.decode_hint, starter.reads_text) == (256, 128, True)
    assert starter.spec is starter_spec
    assert starter.load_seconds > 0
    assert abs(starter.bytes - starter_spec.memory_bytes) < 0.1 * starter_spec.memory_bytes


def test_long_texts_are_reported(starter: ClipRuntime) -> None:
    exact = " ".join(["cat"] * 30)
    assert starter.truncated([exact, exact + " cat", "", "cat"]) == [False, True, False, False]
    assert starter.truncated([]) == []
    np.testing.assert_array_equal(starter.encode_texts([exact + " cat"]), starter.encode_texts([exact + " dog"]))


def test_one_endless_word_takes_no_time(starter: ClipRuntime) -> None:
    assert starter.encode_texts(["x" * 1_000_000]).shape == (1, 256)


def test_bf16_stays_close(starter_spec: ModelSpec, reference: OpenClip) -> None:
    runtime = ClipRuntime(starter_spec, _BF16)
    assert runtime.bytes < 0.6 * starter_spec.memory_bytes
    assert worst_cosine(_encode(runtime, pictures()), reference.images(pictures())) >= 0.999
    assert worst_cosine(runtime.encode_texts(TEXTS), reference.texts(TEXTS)) >= 0.999


def test_a_row_does_not_depend_on_its_batch(starter: ClipRuntime) -> None:
    images = pictures()
    together = _encode(starter, images)
    alone = np.concatenate([_encode(starter, [image]) for image in images])
    np.testing.assert_allclose(together, alone, atol=2e-6)
    texts = starter.encode_texts(TEXTS)
    np.testing.assert_allclose(texts, np.concatenate([starter.encode_texts([text]) for text in TEXTS]), atol=2e-6)


def test_nothing_in_nothing_out(starter: ClipRuntime) -> None:
    assert starter.encode_images(np.empty((0, 3, 64, 64), dtype=np.uint8)).shape == (0, 256)
    assert starter.encode_texts([]).shape == (0, 256)


@pytest.mark.parametrize("size", [(1, 3000), (3000, 1), (1, 1), (60_000, 2), (7, 900)])
def test_extreme_shapes_stay_small(starter: ClipRuntime, size: tuple[int, int]) -> None:
    pixels = starter.preprocess(Image.new("RGB", size, "red"))
    assert pixels.shape == (3, 64, 64)
    assert pixels.dtype == np.uint8
    assert np.isfinite(starter.encode_images(pixels[None])).all()


def test_preprocessing_runs_on_many_threads(starter: ClipRuntime) -> None:
    images = pictures() * 4
    expected = [starter.preprocess(image) for image in images]
    got: dict[int, np.ndarray] = {}
    threads = [
        threading.Thread(target=lambda i=index: got.update({i: starter.preprocess(images[i])}))
        for index in range(len(images))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for index, pixels in enumerate(expected):
        np.testing.assert_array_equal(got[index], pixels)


@pytest.mark.parametrize(
    ("text", "custom", "trims"),
    [
        ({}, False, True),
        ({}, True, True),
        ({"pool_type": "eos", "eos_id": 49407}, False, True),
        ({"pool_type": "eos", "eos_id": 49407}, True, True),
        ({"proj_bias": True}, True, True),
        ({"no_causal_mask": True}, True, False),
        ({"pool_type": "last"}, True, False),
        ({"embed_cls": True, "no_causal_mask": True}, True, False),
    ],
)
def test_trimming_is_exact_or_left_out(tmp_path: Path, text: dict[str, object], custom: bool, trims: bool) -> None:
    config = {"embed_dim": 32, "vision_cfg": _VIT, "text_cfg": {**TOWER, **text}, "custom_text": custom}
    spec = save_open_clip(tmp_path / "model", config)
    runtime, reference = ClipRuntime(spec, _FP32), OpenClip(spec.source)
    assert runtime._text.trims is trims
    np.testing.assert_allclose(runtime.encode_texts(TEXTS), reference.texts(TEXTS), atol=2e-6)
    assert runtime.truncated(TEXTS) == [False, False, False, True, False, False]
    assert worst_cosine(_encode(runtime, pictures()), reference.images(pictures())) >= 0.99999


def test_a_vit_in_bf16_stays_close(tmp_path: Path) -> None:
    spec = save_open_clip(tmp_path / "model", {"embed_dim": 32, "vision_cfg": _VIT, "text_cfg": TOWER})
    runtime, reference = ClipRuntime(spec, _BF16), OpenClip(spec.source)
    assert worst_cosine(_encode(runtime, pictures()), reference.images(pictures())) >= 0.999
    assert worst_cosine(runtime.encode_texts(TEXTS), reference.texts(TEXTS)) >= 0.999


@pytest.mark.slow
def test_vit_b_32_matches_open_clip(tmp_path: Path) -> None:
    config = {**imports.open_clip().get_model_config("ViT-B-32"), "text_cfg": TOWER}
    spec = save_open_clip(tmp_path / "vit-b-32", config)
    runtime, reference = ClipRuntime(spec, _FP32), OpenClip(spec.source)
    expected = reference.images(pictures())
    assert runtime.decode_hint == 224
    assert worst_cosine(_encode(runtime, pictures()), expected) >= 0.99999
    assert worst_cosine(runtime.encode_texts(TEXTS), reference.texts(TEXTS)) >= 0.99999
    assert worst_cosine(_encode(ClipRuntime(spec, _BF16), pictures()), expected) >= 0.999


def test_a_squashing_model_sees_the_whole_picture(tmp_path: Path) -> None:
    spec = save_open_clip(tmp_path / "model", {"embed_dim": 32, "vision_cfg": _VIT, "text_cfg": TOWER})
    file = tmp_path / "model" / "open_clip_config.json"
    file.write_text(file.read_text().replace('"preprocess_cfg": {}', '"preprocess_cfg": {"resize_mode": "squash"}'))
    striped = Image.new("RGB", (3200, 4), "white")
    striped.paste("black", (0, 0, 100, 4))
    runtime, reference = ClipRuntime(spec, _FP32), OpenClip(spec.source)
    assert worst_cosine(_encode(runtime, [striped]), reference.images([striped])) >= 0.99999


@pytest.mark.parametrize("compute", [_FP32, _BF16], ids=["fp32", "bf16"])
def test_the_temperature_is_the_one_of_the_weights(
    starter_spec: ModelSpec, reference: OpenClip, compute: Compute
) -> None:
    runtime = ClipRuntime(starter_spec, compute)
    assert runtime.logit_scale == pytest.approx(reference.module.logit_scale.exp().item(), rel=1e-6)
    assert runtime.logit_bias is None


@pytest.mark.parametrize("bias", [None, -10.0])
def test_scores_are_those_of_open_clips_logits(tmp_path: Path, bias: float | None) -> None:
    config: dict[str, object] = {"embed_dim": 32, "vision_cfg": _VIT, "text_cfg": TOWER, "custom_text": True}
    config |= {"init_logit_scale": 2.0} if bias is None else {"init_logit_scale": 1.5, "init_logit_bias": bias}
    spec = save_open_clip(tmp_path / "model", config)
    runtime, reference = ClipRuntime(spec, _FP32), OpenClip(spec.source)
    labels, images = ["cat", "dog", "red car"], pictures()
    side = LabelCache().get(runtime, labels, ["a {}"], tenant="t", weights="w", encode=runtime.encode_texts)
    logits = reference.logits(images, ["a cat", "a dog", "a red car"])
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    vectors = _encode(runtime, images)
    np.testing.assert_allclose(side.scores(vectors, multi_label=False), shares, atol=1e-3)
    assert runtime.logit_bias == bias
    if bias is not None:
        np.testing.assert_allclose(side.scores(vectors, multi_label=True), 1 / (1 + np.exp(-logits)), rtol=1e-2)
