"""The same vectors on a GPU as on a CPU, and memory that comes back."""

from pathlib import Path

import numpy as np
import pytest

from shared.errors import ErrorCode, RetryableJobError
from shared.model_registry import ModelRegistry, ModelSpec
from tests.unit.workers.runtimes.references import ROOT, TEXTS, OpenClip, pictures, save_timm, timm_images, worst_cosine
from workers.runtimes.cache import ModelCache
from workers.runtimes.device import Compute, choose, prepare_torch
from workers.runtimes.load import load_embedding
from workers.runtimes.protocol import EmbeddingRuntime

torch = pytest.importorskip("torch")
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device, or a torch build without CUDA"),
]


@pytest.fixture(scope="module")
def spec() -> ModelSpec:
    prepare_torch(choose("cuda"))
    return ModelRegistry.load(ROOT / "models.toml").get("starter-clip")


@pytest.mark.parametrize(("dtype", "bar"), [("fp32", 0.9999), ("bf16", 0.999), ("fp16", 0.999)])
def test_starter_matches_open_clip_on_the_cpu(spec: ModelSpec, dtype: str, bar: float) -> None:
    runtime, reference = load_embedding(spec, choose("cuda", dtype)), OpenClip(spec.source)
    vectors = runtime.encode_images(np.stack([runtime.preprocess(image) for image in pictures()]))
    assert worst_cosine(vectors, reference.images(pictures())) >= bar
    assert worst_cosine(runtime.encode_texts(TEXTS), reference.texts(TEXTS)) >= bar


def test_timm_matches_timm_on_the_cpu(tmp_path: Path) -> None:
    spec = save_timm(tmp_path / "resnet18")
    images = [image.convert("RGB") for image in pictures()]
    runtime = load_embedding(spec, choose("cuda", "bf16"))
    vectors = runtime.encode_images(np.stack([runtime.preprocess(image) for image in images]))
    assert worst_cosine(vectors, timm_images(spec, images)) >= 0.999


def test_a_dropped_model_gives_its_memory_back(spec: ModelSpec) -> None:
    compute = choose("cuda", "fp32")
    cache: ModelCache[EmbeddingRuntime] = ModelCache(lambda spec: load_embedding(spec, compute), 10**9)
    before = torch.cuda.memory_reserved()
    with cache.lease(spec) as runtime:
        runtime.encode_texts(["a cat"])
        assert torch.cuda.memory_allocated() >= runtime.bytes
    del runtime
    cache.clear()
    assert torch.cuda.memory_reserved() <= before + 32 * 2**20


def test_a_batch_too_large_for_the_gpu_is_a_job_error(spec: ModelSpec) -> None:
    runtime = load_embedding(spec, Compute("cuda:0", "fp32", "test"))
    free, _ = torch.cuda.mem_get_info()
    filler = torch.empty(int(free - 256 * 2**20), dtype=torch.uint8, device="cuda:0")
    try:
        with pytest.raises(RetryableJobError) as caught:
            runtime.encode_images(np.zeros((20_000, 3, 64, 64), dtype=np.uint8))
    finally:
        del filler
        torch.cuda.empty_cache()
    assert caught.value.code == ErrorCode.OUT_OF_MEMORY
    assert runtime.encode_images(np.zeros((4, 3, 64, 64), dtype=np.uint8)).shape == (4, 256)
