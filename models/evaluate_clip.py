"""Measures a CLIP model on artwork it was not trained on: ``python -m models.evaluate_clip``.

Each held-out picture has one name. Text to image: the name is the query, and R@k is the share of names whose own
picture is among the k nearest of all. Zero-shot: the picture is the query, and its nearest name must be its own.
Only the one picture with the very name counts, so that "dog face" for "dog" is a miss.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch import Tensor

from workers.runtimes import torchvision_shim

torchvision_shim.install()

import open_clip  # noqa: E402  (torchvision, which it imports, needs the shim first)

from models import pictures, sources  # noqa: E402

CATALOGUE = sources.MODELS / "catalogue"
_BATCH = 256


@dataclass(frozen=True)
class Scores:
    """Shares in percent over ``pictures`` candidates."""

    pictures: int
    r_at_1: float
    r_at_5: float
    r_at_10: float
    zero_shot: float


def evaluate(model_name: str, paths: Sequence[Path], names: Sequence[str]) -> Scores:
    """Embed pictures and names with an open_clip model and score them against each other."""
    model, _, preprocess = open_clip.create_model_and_transforms(model_name)
    tokenizer = open_clip.get_tokenizer(model_name)
    model.eval()
    with torch.inference_mode():
        images = [model.encode_image(torch.stack(batch), normalize=True) for batch in _prepared(paths, preprocess)]
        texts = model.encode_text(tokenizer(list(names)), normalize=True)
    return score(torch.cat(images), texts)


def score(images: Tensor, texts: Tensor) -> Scores:
    """Scores of ``(n, d)`` picture vectors against the ``(n, d)`` vectors of their names, row by row."""
    similarity = texts @ images.T
    right = similarity.diagonal()
    rank = (similarity > right[:, None]).sum(1)
    named = (similarity > right).sum(0) == 0
    one, five, ten = (float((rank < k).float().mean()) * 100 for k in (1, 5, 10))
    return Scores(len(images), one, five, ten, zero_shot=float(named.float().mean()) * 100)


def held_out(with_flags: bool = False) -> tuple[list[Path], list[str]]:
    """The held-out vendor's pictures and names, from the training cache."""
    sources.fetch()
    emoji, paths = sources.load_emoji(), sources.picture_paths(sources.HELD_OUT_VENDOR)
    kept = [one for one in emoji if one.code in paths] if with_flags else pictures.held_out(emoji)
    return [paths[one.code] for one in kept], [one.name for one in kept]


def catalogue() -> tuple[list[Path], list[str]]:
    """The shipped demo catalogue's pictures and names; needs no cache."""
    lines = (CATALOGUE / "catalogue.jsonl").read_text(encoding="utf-8").splitlines()
    items = [json.loads(line) for line in lines]
    return [CATALOGUE / item["file"] for item in items], [item["name"] for item in items]


def _prepared(paths: Sequence[Path], preprocess: "open_clip.transform.Compose") -> list[list[Tensor]]:
    tensors = []
    for path in paths:
        with Image.open(path) as picture:
            tensors.append(preprocess(pictures.over_white(picture)))
    return [tensors[start : start + _BATCH] for start in range(0, len(tensors), _BATCH)]


def main() -> None:
    """Print a table, or JSON with ``--json``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default=f"local-dir:{sources.MODELS / 'starter-clip'}")
    parser.add_argument("--catalogue", action="store_true", help="only the shipped catalogue, without the cache")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    sets = {"catalogue": catalogue()}
    if not options.catalogue:
        sets = {"held out": held_out(), "held out with flags": held_out(with_flags=True)} | sets
    results = {name: evaluate(options.model, *pair) for name, pair in sets.items()}
    if options.json:
        print(json.dumps({name: asdict(scores) for name, scores in results.items()}, indent=2))
    else:
        _show(results)


def _show(results: dict[str, Scores]) -> None:
    table = Table("set", "pictures", "R@1", "R@5", "R@10", "zero-shot top-1", title="Text to image, %")
    for name, scores in results.items():
        shares = (scores.r_at_1, scores.r_at_5, scores.r_at_10, scores.zero_shot)
        table.add_row(name, str(scores.pictures), *(f"{share:.1f}" for share in shares))
    Console().print(table)


if __name__ == "__main__":
    main()
