"""From a cosine to a relevance: how far a hit stands out from what the query scores on the collection as a whole.

What cosine is good depends on the query: a picture's best hits score far above a text's, a mix with negative weights
far below. So a hit is placed between two scores of its own query. The lower one, relevance 0, is the median over the
collection: half of all items are nearer than that, and mean nothing by it. The upper one, relevance 1, is the best hit,
or what the best of as many unrelated items would reach by chance, if that is higher: where nothing stands out, nothing
gets a 1. docs/search.md has the figures.

Robust estimates (median, and the median absolute deviation times 1.4826, which is the standard deviation of a normal
distribution) keep the items that do match from passing as the usual spread (Rousseeuw and Croux, 1993).
"""

from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from shared.vectors.protocol import Vector
from workers.collection_samples import Sample

NORMAL_SPREAD = 1.4826
NO_DIFFERENCE = 1e-6
"""Cosines that lie no farther apart differ by rounding only."""
DIGITS = 4
"""More would only show the chance of the sample."""
UNKNOWN = 0.5
"""Where nothing can be compared, as in a collection of one item."""


def relevances(cosines: Sequence[float], best: float, sample: Sample, vector: Vector) -> list[float]:
    """0 to 1 for each cosine. `best`: the highest in the collection; `vector`: the query's, of unit length."""
    if not len(sample.vectors):
        return [UNKNOWN] * len(cosines)
    usual, top = scale(_cosines(sample.vectors, vector), best, sample.items)
    if top - usual <= NO_DIFFERENCE:
        return [UNKNOWN] * len(cosines)
    return [round(min(1.0, max(0.0, (cosine - usual) / (top - usual))), DIGITS) for cosine in cosines]


def scale(background: NDArray[np.float64], best: float, items: int) -> tuple[float, float]:
    """The cosines of relevance 0 and 1. `background`: (n,), the query's cosines to a sample, n at least 1."""
    median = float(np.median(background))
    spread = NORMAL_SPREAD * float(np.median(np.abs(background - median)))
    return median, max(best, median + spread * chance_best(items))


def chance_best(items: int) -> float:
    """Where the best of so many draws from a normal distribution lies, in standard deviations: its quantile is
    items / (items + 1) in the mean.
    """
    return NormalDist().inv_cdf(items / (items + 1))


def _cosines(vectors: NDArray[np.float32], vector: Vector) -> NDArray[np.float64]:
    lengths = np.linalg.norm(vectors, axis=1)
    found: NDArray[np.float64] = (vectors @ vector).astype(np.float64) / lengths
    return found
