"""Weights are told apart by their entry and their files."""

import os
from pathlib import Path
from typing import Any

import pytest

from shared.loaded_models import entry_of, weights_of
from shared.model_registry import ModelSpec


def spec(source: str, **changes: Any) -> ModelSpec:
    values = {"alias": "a", "family": "open_clip", "dimension": 4, "image_size": 8, "memory_bytes": 1}
    return ModelSpec(source=source, **(values | changes))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "weights"
    (folder / "text").mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"1234")
    (folder / "text" / "tokenizer.json").write_bytes(b"{}")
    return folder


def test_the_same_files_are_the_same_weights(folder: Path) -> None:
    assert weights_of(spec(f"local-dir:{folder}")) == weights_of(spec(f"local-dir:{folder}"))


@pytest.mark.parametrize("name", ["model.safetensors", "text/tokenizer.json"])
def test_a_changed_file_is_other_weights(folder: Path, name: str) -> None:
    local = spec(f"local-dir:{folder}")
    before = {weights_of(local)}
    path = folder / name
    touched = path.stat().st_mtime_ns + 1
    os.utime(path, ns=(touched, touched))
    assert weights_of(local) not in before
    before.add(weights_of(local))
    path.write_bytes(b"12345")
    os.utime(path, ns=(touched, touched))
    assert weights_of(local) not in before
    before.add(weights_of(local))
    path.rename(folder / "renamed")
    assert weights_of(local) not in before


def test_a_folder_that_is_not_there_has_a_name_too(tmp_path: Path) -> None:
    assert weights_of(spec(f"local-dir:{tmp_path / 'none'}"))


@pytest.mark.parametrize(
    "change",
    [
        {"alias": "b"},
        {"family": "timm"},
        {"revision": "abc"},
        {"dimension": 5},
        {"image_size": 9},
        {"dtype": "fp16"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_another_entry_is_other_weights(change: dict[str, Any]) -> None:
    one, other = spec("hf-hub:o/n"), spec("hf-hub:o/n", **change)
    assert entry_of(one) != entry_of(other)
    assert weights_of(one) != weights_of(other)


def test_where_a_folder_lies_is_no_matter_of_the_entry(tmp_path: Path) -> None:
    assert (
        entry_of(spec("local-dir:/here/m")) == entry_of(spec("local-dir:/there/m")) != entry_of(spec("local-dir:/m2"))
    )


def test_what_a_person_reads_does_not_count() -> None:
    assert entry_of(spec("x/y")) == entry_of(spec("x/y", description="new", licence="MIT", default_for=("embed",)))
