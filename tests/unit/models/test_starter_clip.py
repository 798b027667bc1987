"""The shipped starter CLIP, loaded as any open_clip model is, and the catalogue it is shown with."""

import json
import re
import socket
import stat
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from workers.runtimes import torchvision_shim

torchvision_shim.install()

import open_clip  # noqa: E402  (torchvision, which it imports, needs the shim first)

MODELS = Path(__file__).parents[3] / "models"
FOLDER = MODELS / "starter-clip"
CATALOGUE = MODELS / "catalogue"
NAME = f"local-dir:{FOLDER}"
LINES = (CATALOGUE / "catalogue.jsonl").read_text(encoding="utf-8").splitlines()
ITEMS: list[dict[str, Any]] = [json.loads(line) for line in LINES]
QUERIES: dict[str, Any] = json.loads((CATALOGUE / "queries.json").read_text(encoding="utf-8"))


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing about the starter model may reach for the network."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the starter model tried to open a connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture(scope="module")
def loaded() -> tuple[Any, Any, Any]:
    """Model, preprocessing and tokenizer."""
    model, _, preprocess = open_clip.create_model_and_transforms(NAME)
    return model.eval(), preprocess, open_clip.get_tokenizer(NAME)


def _embed(loaded: tuple[Any, Any, Any], items: list[dict[str, Any]]) -> tuple[torch.Tensor, torch.Tensor]:
    model, preprocess, tokenizer = loaded
    pictures = torch.stack([preprocess(Image.open(CATALOGUE / item["file"])) for item in items])
    with torch.inference_mode():
        images = model.encode_image(pictures, normalize=True)
        return images, model.encode_text(tokenizer([item["name"] for item in items]), normalize=True)


def test_names_find_their_pictures(loaded: tuple[Any, Any, Any]) -> None:
    chosen = ITEMS[:: len(ITEMS) // 40][:40]
    images, texts = _embed(loaded, chosen)
    assert images.shape == texts.shape == (40, 256)
    similarity = texts @ images.T
    rank = (similarity > similarity.diagonal()[:, None]).sum(1)
    # By chance 1 of 40 would come first.
    assert (rank == 0).float().mean() >= 0.6
    assert (rank < 5).float().mean() >= 0.85


def test_what_follows_the_end_token_does_not_matter(loaded: tuple[Any, Any, Any]) -> None:
    """Workers rely on it: they cut a batch of prompts to its longest."""
    model, _, tokenizer = loaded
    padded = tokenizer(["dog", "a red apple"])
    other = torch.where(padded == 0, 5, padded)
    with torch.inference_mode():
        assert torch.allclose(model.encode_text(padded), model.encode_text(other), atol=1e-5)


def test_end_token_is_the_highest_and_padding_is_zero(loaded: tuple[Any, Any, Any]) -> None:
    model, _, tokenizer = loaded
    tokens = tokenizer(["a red apple", "word " * 100])
    assert tokens.shape == (2, 32)
    assert tokens.max() == model.vocab_size - 1 == tokenizer.tokenizer.eos_token_id
    assert (tokens.argmax(-1) == torch.tensor([4, 31])).all()
    assert (tokens[0, 5:] == 0).all()


def test_known_words_are_spelt_as_clip_spells_them(loaded: tuple[Any, Any, Any]) -> None:
    full, cut = open_clip.tokenizer.SimpleTokenizer(), loaded[2]
    for text in [item["name"] for item in ITEMS] + QUERIES["text"]:
        pieces = [full.decoder[index] for index in full.encode(text)]
        ids = [index for index in cut(text)[0].tolist() if index][1:-1]
        assert cut.tokenizer.convert_ids_to_tokens(ids) == pieces


def test_unknown_words_fall_into_known_pieces(loaded: tuple[Any, Any, Any]) -> None:
    tokenizer = loaded[2]
    tokens = tokenizer(["zorgleblat", "日本 🍎", "", "DOG"])
    end = tokenizer.tokenizer.eos_token_id
    assert ((tokens == end).sum(1) == 1).all()
    assert tokenizer("DOG").equal(tokenizer("dog"))


def test_weights_are_readable_by_all_and_small() -> None:
    weights = FOLDER / "open_clip_model.safetensors"
    assert weights.stat().st_mode & stat.S_IROTH
    assert weights.stat().st_size < 12_000_000


def test_catalogue_is_whole() -> None:
    assert len(ITEMS) >= 500
    assert len({item["id"] for item in ITEMS}) == len(ITEMS)
    for item in ITEMS:
        assert re.fullmatch(r"[a-z0-9-]+", item["id"])
        assert item["name"]
        assert item["category"]
        with Image.open(CATALOGUE / item["file"]) as picture:
            assert picture.mode == "RGB"
            picture.load()


def test_queries_speak_of_catalogue_pictures() -> None:
    ids = {item["id"] for item in ITEMS}
    assert len(QUERIES["text"]) == 6
    assert len(QUERIES["image_ids"]) == 3
    assert set(QUERIES["image_ids"]) <= ids
    for query in QUERIES["text"]:
        right = QUERIES["expected"]["text"][query]
        assert right
        assert set(right) <= ids
