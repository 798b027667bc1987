"""Which weights a worker says that it has loaded."""

import os
import shutil
from pathlib import Path

import psycopg
import pytest

from shared.model_registry import ModelRegistry
from shared.settings import WorkerSettings
from tests.fakes.services import Room
from workers.services import CachedEmbedders

STARTER = Path(__file__).parents[3] / "models" / "starter-clip"
ENTRY = """
[models.{alias}]
family = "open_clip"
source = "local-dir:weights"
dimension = 256
image_size = 64
memory_bytes = 20000000
"""


class Notes:
    def __init__(self) -> None:
        self.written: list[tuple[str, str]] = []
        self.away = False

    def __call__(self, alias: str, weights: str) -> None:
        if self.away:
            raise psycopg.OperationalError("away")
        self.written.append((alias, weights))


@pytest.fixture
def notes() -> Notes:
    return Notes()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(STARTER, tmp_path / "weights"))


@pytest.fixture
def embedders(tmp_path: Path, folder: Path, notes: Notes) -> CachedEmbedders:
    """With room for one model."""
    path = tmp_path / "models.toml"
    path.write_text("".join(ENTRY.format(alias=alias) for alias in ("a", "b")))
    settings = WorkerSettings(embedded=True, home=tmp_path, model_memory_bytes=1, device="cpu")
    return CachedEmbedders(ModelRegistry.load(path), settings, notes)


def touch(folder: Path) -> None:
    path = folder / "open_clip_model.safetensors"
    later = path.stat().st_mtime_ns + 1_000_000
    os.utime(path, ns=(later, later))


def test_weights_are_those_that_were_loaded_not_those_that_lie_there(
    embedders: CachedEmbedders, folder: Path, notes: Notes
) -> None:
    with embedders.lease("a"):
        first = embedders.weights("a")
        touch(folder)
        assert embedders.weights("a") == first
    assert notes.written == [("a", first)]
    with embedders.lease("b"):  # there is room for one: the other has to be loaded anew, from the files of now
        embedders.weights("b")
    with embedders.lease("a"):
        assert embedders.weights("a") != first
    assert [alias for alias, _ in notes.written] == ["a", "b", "a"]


def test_nobody_gets_weights_that_could_not_be_noted(embedders: CachedEmbedders, notes: Notes) -> None:
    notes.away = True
    for _ in range(2):
        with pytest.raises(psycopg.OperationalError):
            embedders.weights("a")
    notes.away = False
    assert notes.written == []
    weights = embedders.weights("a")
    assert notes.written == [("a", weights)]


def test_a_worker_starts_with_its_models_while_postgres_is_away() -> None:
    room = Room()

    def away(alias: str) -> str:
        raise psycopg.OperationalError("away")

    room.embedders.weights = away  # type: ignore[method-assign]
    assert room.services.preload(["fake", "gone"]) == []
    assert room.model.text_batches == [1], "loaded and warm all the same"
