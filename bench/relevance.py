"""How well one cutoff serves all queries: of the cosine, and of the relevance that `calibrated` gives.

`python -m bench.relevance SPLITS` embeds the shipped catalogue with the starter model and prints JSON. Truth is the
catalogue's keywords: an item fits a query when it has the query's keyword. Queries are of four kinds, one of each for
every keyword of five items or more: the keyword as text, a picture of one such item, both together, and the keyword
less half of another one (which items must not have). For each split of the keywords, the cutoff with the best F1 on
one half is used on the other, and the other way round.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from local.settings import REPOSITORY
from workers.collection_samples import SAMPLE_SIZE
from workers.handlers.searching.relevance import NORMAL_SPREAD, scale

Matrix = NDArray[np.float64]
"""(queries, items)."""
Marks = NDArray[np.bool_]

KINDS = ("text", "picture", "text and picture", "text less another")
CATALOGUE = REPOSITORY / "models" / "catalogue"
LEAST_MATCHES = 5
CUTOFFS = 300
BATCH = 32
SEED = 1


@dataclass(frozen=True)
class Trial:
    """Queries on one collection. Those of one keyword stand together, in the order of `KINDS`.

    Attributes:
        cosines: the query to every item.
        fits: which items have what the query asks for.
        shown: which items may be results: not the one that is asked by.
    """

    cosines: Matrix
    fits: Marks
    shown: Marks


def scores(trial: Trial) -> dict[str, Matrix]:
    """What a cutoff may be put on, by name; what is no result scores -inf."""
    background = trial.cosines[:, :SAMPLE_SIZE]  # the catalogue's items, but for a few
    items = trial.cosines.shape[1]
    best = np.where(trial.shown, trial.cosines, -np.inf).max(axis=1)
    scales = np.array([scale(row, top, items) for row, top in zip(background, best, strict=True)])
    usual, top = scales[:, :1], scales[:, 1:]
    spread = NORMAL_SPREAD * np.median(np.abs(background - usual), axis=1, keepdims=True)
    found = {
        "cosine": trial.cosines,
        "relevance": (trial.cosines - usual) / (top - usual),
        # Grows with the probability, Phi(z) ** n, that the best of n unrelated items scores lower.
        "z": (trial.cosines - usual) / spread,
    }
    return {name: np.where(trial.shown, score, -np.inf) for name, score in found.items()}


def f1(score: Matrix, fits: Marks, cutoff: float) -> NDArray[np.float64]:
    """Of each query: 2 hits / (found + fitting)."""
    found = score >= cutoff
    measured: NDArray[np.float64] = 2 * (found & fits).sum(axis=1) / np.maximum(found.sum(1) + fits.sum(1), 1)
    return measured


def best_cutoff(score: Matrix, fits: Marks) -> float:
    """Of the upper fifth of all scores, the one with the best mean F1."""
    tried = np.quantile(score[np.isfinite(score)], np.linspace(0.8, 1, CUTOFFS))
    return float(tried[np.argmax([f1(score, fits, cutoff).mean() for cutoff in tried])])


def of_one_cutoff(score: Matrix, fits: Marks, first: Marks) -> tuple[float, float]:
    """Mean F1 over queries, each with the cutoff of the half that it is not in, and the mean of these cutoffs."""
    cutoffs = [best_cutoff(score[half], fits[half]) for half in (first, ~first)]
    parts = [f1(score[half], fits[half], cutoff) for half, cutoff in zip((~first, first), cutoffs, strict=True)]
    return float(np.concatenate(parts).mean()), float(np.mean(cutoffs))


def of_own_cutoffs(trial: Trial) -> float:
    """Mean F1 when each query has the cutoff that is best for it: no cutoff can do better."""
    score = scores(trial)["cosine"]
    order = np.argsort(-score, axis=1)
    hits = np.take_along_axis(trial.fits, order, axis=1).cumsum(axis=1)
    found = np.arange(1, score.shape[1] + 1)
    return float((2 * hits / (found + np.maximum(trial.fits.sum(1, keepdims=True), 1))).max(axis=1).mean())


def measure(trial: Trial, splits: int) -> list[dict[str, dict[str, float]]]:
    """A result a split: {which queries: {score: F1}}, with the cutoffs as `<score> cutoff`."""
    of_each = scores(trial)
    rng = np.random.default_rng(SEED)
    keywords = len(trial.cosines) // len(KINDS)
    texts = np.arange(len(trial.cosines)) % len(KINDS) == 0
    results = []
    for _ in range(splits):
        half = np.repeat(rng.permutation(keywords) < keywords // 2, len(KINDS))
        result: dict[str, dict[str, float]] = {"all": {}, "texts": {}}
        for name, score in of_each.items():
            for which, chosen in (("all", np.full(len(score), True)), ("texts", texts)):
                value, cutoff = of_one_cutoff(score[chosen], trial.fits[chosen], half[chosen])
                result[which] |= {name: value, f"{name} cutoff": cutoff}
        results.append(result)
    return results


def trial_of(pictures: Matrix, texts: Matrix, has: Marks) -> Trial:
    """Queries of each kind. `pictures`: (items, d); `texts`: (keywords, d); `has`: (keywords, items)."""
    rng = np.random.default_rng(SEED)
    queries, fits, examples = [], [], []
    for keyword, text in enumerate(texts):
        example = int(rng.choice(np.flatnonzero(has[keyword])))
        other = int(rng.choice([one for one in range(len(texts)) if one != keyword]))
        picture = pictures[example]
        queries += [text, picture, text + picture, text - 0.5 * texts[other]]
        fits += [has[keyword], has[keyword], has[keyword], has[keyword] & ~has[other]]
        examples += [-1, example, example, -1]
    mixed = np.array(queries)
    cosines = mixed / np.linalg.norm(mixed, axis=1, keepdims=True) @ pictures.T
    shown = np.arange(len(pictures)) != np.array(examples)[:, None]
    return Trial(cosines, np.array(fits) & shown, shown)


def catalogue_trial() -> Trial:
    """The shipped catalogue, embedded with the starter model."""
    from PIL import Image

    from shared.model_registry import ModelRegistry
    from workers.runtimes.device import choose, prepare_torch
    from workers.runtimes.load import load_embedding

    rows = [json.loads(line) for line in (CATALOGUE / "catalogue.jsonl").read_text().splitlines()]
    owned = [set(row["keywords"]) for row in rows]
    names = sorted({word for words in owned for word in words})
    keywords = [word for word in names if sum(word in words for words in owned) >= LEAST_MATCHES]
    compute = choose("cpu")
    prepare_torch(compute)
    model = load_embedding(ModelRegistry.load(REPOSITORY / "models.toml").get("starter-clip"), compute)

    def embedded(files: Sequence[Path]) -> NDArray[np.float32]:
        return model.encode_images(np.stack([model.preprocess(Image.open(file).convert("RGB")) for file in files]))

    files = [CATALOGUE / row["file"] for row in rows]
    parts = [embedded(files[start : start + BATCH]) for start in range(0, len(files), BATCH)]
    has = np.array([[word in words for words in owned] for word in keywords])
    return trial_of(np.concatenate(parts).astype(float), model.encode_texts(keywords).astype(float), has)


def main(splits: int) -> None:
    trial = catalogue_trial()
    answer = {"queries": len(trial.cosines), "splits": measure(trial, splits), "own cutoffs": of_own_cutoffs(trial)}
    print(json.dumps(answer))


if __name__ == "__main__":
    main(int(sys.argv[1]))
