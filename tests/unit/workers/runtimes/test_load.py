"""A model that cannot be loaded is a job error with a reason and a fix, never a crash."""

import json
from pathlib import Path

import pytest

from shared.errors import ErrorCode, JobError, PermanentJobError, RetryableJobError
from shared.model_registry import ModelSpec
from tests.unit.workers.runtimes.references import TOWER, save_open_clip
from workers.runtimes import weights
from workers.runtimes.device import Compute
from workers.runtimes.load import load_embedding

_FP32 = Compute("cpu", "fp32", "test")
_VIT = {"image_size": 32, "patch_size": 16, "width": 64, "layers": 1, "head_width": 32}
_CONFIG = {"embed_dim": 32, "vision_cfg": _VIT, "text_cfg": TOWER}


@pytest.fixture
def spec(tmp_path: Path) -> ModelSpec:
    return save_open_clip(tmp_path / "model", _CONFIG)


def _refused(spec: ModelSpec) -> JobError:
    with pytest.raises(JobError) as caught:
        load_embedding(spec, _FP32)
    assert caught.value.code == ErrorCode.MODEL_LOAD_FAILED
    assert repr(spec.alias) in caught.value.message
    return caught.value


def _folder(spec: ModelSpec) -> Path:
    assert spec.folder is not None
    return spec.folder


def test_a_missing_folder(spec: ModelSpec) -> None:
    error = _refused(spec.model_copy(update={"source": "local-dir:/nowhere"}))
    assert isinstance(error, PermanentJobError)
    assert "/nowhere does not exist" in error.message


def test_pickled_weights_are_not_looked_at(spec: ModelSpec) -> None:
    file = _folder(spec) / "open_clip_model.safetensors"
    file.rename(file.with_name("open_clip_pytorch_model.bin"))
    assert "safetensors" in _refused(spec).message


@pytest.mark.parametrize("content", [b"", b"not safetensors at all"])
def test_damaged_weights(spec: ModelSpec, content: bytes) -> None:
    (_folder(spec) / "open_clip_model.safetensors").write_bytes(content)
    assert isinstance(_refused(spec), PermanentJobError)


def test_weights_of_another_architecture(spec: ModelSpec) -> None:
    config = {**_CONFIG, "vision_cfg": {**_VIT, "layers": 3}}
    (_folder(spec) / "open_clip_config.json").write_text(json.dumps({"model_cfg": config}))
    assert "belong to that architecture" in _refused(spec).message


@pytest.mark.parametrize(
    ("config", "word"),
    [
        ("{", "not JSON"),
        ("[]", "no JSON object"),
        ("{}", "no model_cfg"),
        (json.dumps({"model_cfg": {"text_cfg": {"tokenizer_kwargs": {"trust_remote_code": True}}}}), "run code"),
    ],
)
def test_wrong_configs(spec: ModelSpec, config: str, word: str) -> None:
    (_folder(spec) / "open_clip_config.json").write_text(config)
    assert word in _refused(spec).message


def test_a_wrong_dimension_names_the_right_one(spec: ModelSpec) -> None:
    assert "Write dimension = 32" in _refused(spec.model_copy(update={"dimension": 64})).message


@pytest.mark.parametrize(
    ("family", "source", "word"),
    [
        ("open_clip", "ViT-B-32/no_such_weights", "laion2b_s34b_b79k"),
        ("open_clip", "ViT-Z-99/laion2b_s34b_b79k", "knows no ViT-Z-99"),
        ("open_clip", "ViT-B-32/openai", "ViT-B-32-quickgelu"),
        ("timm", "resnet18.no_such_tag", "Invalid pretrained tag"),
        ("timm", "resnet99", "knows no"),
    ],
)
def test_unknown_names(spec: ModelSpec, family: str, source: str, word: str) -> None:
    assert word in _refused(spec.model_copy(update={"family": family, "source": source})).message


def test_a_hub_that_does_not_answer_is_tried_again_later(spec: ModelSpec) -> None:
    wrapped = RuntimeError("Failed to download")
    wrapped.__cause__ = ConnectionRefusedError("refused")
    with pytest.raises(RetryableJobError) as caught, weights.loading(spec):
        raise wrapped
    assert caught.value.code == ErrorCode.MODEL_LOAD_FAILED
    assert caught.value.retry_in is not None


def test_out_of_memory_passes_as_it_is(spec: ModelSpec) -> None:
    with pytest.raises(MemoryError), weights.loading(spec):
        raise MemoryError


def test_a_family_without_vectors(spec: ModelSpec) -> None:
    with pytest.raises(PermanentJobError) as caught:
        load_embedding(spec.model_copy(update={"family": "diffusers"}), _FP32)
    assert caught.value.code == ErrorCode.MODEL_MISMATCH
