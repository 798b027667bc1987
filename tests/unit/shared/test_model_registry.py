"""`models.toml` is read with every mistake named, and aliases resolve."""

import subprocess
import sys
from pathlib import Path

import pytest

from shared.errors import ConfigurationError, ErrorCode, PermanentJobError, RequestError
from shared.model_registry import ModelRegistry, ModelUnknown

_ROOT = Path(__file__).parents[3]
_GOOD = """
[models.one]
family = "open_clip"
source = "local-dir:weights/one"
default_for = ["embed"]
dimension = 8
image_size = 16
memory_bytes = 100

[models.two]
family = "timm"
source = "resnet18.a1_in1k"
revision = "abc"
dtype = "fp32"
dimension = 512
image_size = 224
memory_bytes = 200
"""


def _load(folder: Path, text: str) -> ModelRegistry:
    path = folder / "models.toml"
    path.write_text(text)
    return ModelRegistry.load(path)


def test_entries_load_and_local_folders_are_relative_to_the_file(tmp_path: Path) -> None:
    registry = _load(tmp_path, _GOOD)
    one, two = registry
    assert one.folder == tmp_path / "weights" / "one"
    assert (one.dtype, one.reads_text, two.reads_text, two.folder, two.revision) == ("auto", True, False, None, "abc")
    assert registry.default_for("embed") is one
    assert registry.resolve("two", "embed") is two
    assert registry.resolve(None, "embed") is one
    assert "two" in registry
    assert len(registry) == 2


def test_an_unknown_alias_is_a_refused_request_and_a_failed_job_and_lists_the_known(tmp_path: Path) -> None:
    with pytest.raises(ModelUnknown) as caught:
        _load(tmp_path, _GOOD).get("three")
    error = caught.value
    assert isinstance(error, PermanentJobError)
    assert isinstance(error, RequestError)
    assert error.code == ErrorCode.MODEL_UNKNOWN
    assert "one, two" in error.message
    assert error.faults[0].path == "input.model"
    assert error.extra == {}


def test_a_kind_without_a_default_says_where_to_add_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"'tag'.*default_for"):
        _load(tmp_path, _GOOD).default_for("tag")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('family = "timm"', 'family = "keras"', ("[models.two] family", '"diffusers"')),
        ("dimension = 512\n", "", ("[models.two] dimension", "missing")),
        ("dimension = 512", "dimension = 0", ("[models.two] dimension", "above 0")),
        ("dimension = 512", 'dimension = "512"', ("[models.two] dimension", "whole number")),
        ("memory_bytes = 200\n", "", ("[models.two] memory_bytes", "bytes")),
        ('dtype = "fp32"', 'dtype = "int8"', ("[models.two] dtype", '"bf16"')),
        ('revision = "abc"', 'weights = "abc"', ("[models.two] weights", "unknown key", "revision")),
        ('revision = "abc"', 'default_for = ["embed"]', ("[models.two] default_for", "'embed'", "[models.one]")),
        ('"local-dir:weights/one"', '"ViT-B-32"', ("[models.one] source", "names no weights")),
        ("[models.two]", '[models."Two!"]', ("[models.Two!]", "alias")),
        ("[models.two]", "[models.two", ("not valid TOML",)),
    ],
)
def test_mistakes_name_the_place_and_the_fix(tmp_path: Path, old: str, new: str, words: tuple[str, ...]) -> None:
    assert old in _GOOD
    with pytest.raises(ConfigurationError) as caught:
        _load(tmp_path, _GOOD.replace(old, new))
    for word in words:
        assert word in str(caught.value)


def test_every_fault_of_an_entry_is_named_at_once(tmp_path: Path) -> None:
    broken = _GOOD.replace("image_size = 224", "image_size = -1").replace('dtype = "fp32"', "dtype = 3")
    with pytest.raises(ConfigurationError) as caught:
        _load(tmp_path, broken)
    assert "image_size" in str(caught.value)
    assert "dtype" in str(caught.value)


@pytest.mark.parametrize("text", ["", "models = 3", "[models]\none = 3"])
def test_a_file_without_models_says_what_to_write(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"\[models\."):
        _load(tmp_path, text)


def test_a_missing_file_names_the_setting(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="DARKROOM_MODELS_FILE"):
        ModelRegistry.load(tmp_path / "none.toml")


def test_the_shipped_file_serves_the_first_kinds_offline() -> None:
    registry = ModelRegistry.load(_ROOT / "models.toml")
    for kind in ("embed", "index", "search"):
        spec = registry.default_for(kind)
        assert spec.alias == "starter-clip"
        assert spec.folder == _ROOT / "models" / "starter-clip"


def test_the_registry_imports_no_model_library() -> None:
    code = "import sys, shared.model_registry; print([m for m in ('torch', 'open_clip', 'timm') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=_ROOT)
    assert done.stdout.strip() == "[]"
