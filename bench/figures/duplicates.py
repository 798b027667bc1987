"""Duplicates: how long grouping takes, and what each method finds of copies that were changed in known ways."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from bench.bare.vectors import vectors_of
from bench.figure import Figure
from bench.lab import Lab
from bench.made_set import CHANGES
from bench.pictures import catalogue_pictures, catalogue_subcategories
from bench.samples import Samples
from local.settings import REPOSITORY
from shared.contracts.deduplicate import DEFAULT_BITS, DEFAULT_COSINE
from shared.images.decode import DecodeLimits, decode
from shared.images.fingerprinting import fingerprints_of, sketch_of
from workers.duplicates.components import Indexes
from workers.duplicates.grouping import MIN_DETAIL, Grouping
from workers.duplicates.hamming import close_pairs
from workers.duplicates.neighbours import VectorsInMemory
from workers.duplicates.pictures import Candidate

SIZES = (1_000, 10_000, 100_000)
PLANTED = 0.1
"""The share of pictures that are near-duplicates of another one."""
METHODS = ("exact", "perceptual", "semantic")
MODEL = "starter-clip"
CATALOGUE_SIZE = 1_048

Pairs = set[tuple[int, int]]


class NotFound(Exception):
    """A planted duplicate was not found: the times are worth nothing."""


def measure(lab: Lab) -> list[Figure]:
    return [*_times(lab), *_quality(lab)]


def _times(lab: Lab) -> list[Figure]:
    figures = []
    sizes = SIZES[:-1] if lab.quick else SIZES
    with lab.track("grouping", len(sizes) * lab.rounds) as step:
        for size in sizes:
            seconds = Samples("exact and perceptual", "s")
            for turn in range(lab.rounds):
                pictures, expected = _library(size, seed=turn)
                started = time.perf_counter()
                groups = _grouping(pictures).find(["exact", "perceptual"])
                seconds.add(time.perf_counter() - started)
                _check(
                    groups_of={index: at for at, group in enumerate(groups) for index in group.members}, pairs=expected
                )
                step()
            bar = 30 if size == max(SIZES) else None
            note = f"one core; {PLANTED:.0%} are planted near-duplicates, and every one is found"
            figures.append(
                Figure(f"duplicates among {size:,} hashes", seconds, bar=bar, higher_is_better=False, note=note)
            )
    return figures


def _grouping(pictures: list[Candidate]) -> Grouping:
    return Grouping(pictures, within=DEFAULT_BITS, neighbours=None, checkpoint=lambda _: None)


def _library(size: int, seed: int) -> tuple[list[Candidate], list[tuple[int, int]]]:
    """Pictures with random hashes of which the last tenth differ in up to DEFAULT_BITS bits from one of the others."""
    random = np.random.default_rng(seed)
    hashes = random.integers(0, 2**64, (size, 2), dtype=np.uint64)
    copies = int(size * PLANTED)
    originals = random.choice(size - copies, copies, replace=False)
    for row, original in zip(range(size - copies, size), originals, strict=True):
        hashes[row] = hashes[original]
        for column in range(2):
            for bit in random.choice(64, random.integers(0, DEFAULT_BITS + 1), replace=False):
                hashes[row, column] ^= np.uint64(1 << int(bit))
    pictures = [
        Candidate(f"{row:07}", b"f%d" % row, b"p%d" % row, int(first), int(second), 64, 1, 1, 1, None)
        for row, (first, second) in enumerate(hashes.tolist())
    ]
    return pictures, list(zip(originals.tolist(), range(size - copies, size), strict=True))


def _check(groups_of: Mapping[int, int], pairs: Iterable[tuple[int, int]]) -> None:
    missed = [pair for pair in pairs if pair[0] not in groups_of or groups_of[pair[0]] != groups_of.get(pair[1])]
    if missed:
        raise NotFound(f"{len(missed)} planted duplicates were not found, such as {missed[0]}")


@dataclass(frozen=True)
class _Made:
    """The originals, then a copy of each by the first change, by the second, and so on."""

    originals: int
    pictures: list[Candidate]
    vectors: NDArray[np.float32]

    def is_right(self, pair: tuple[int, int]) -> bool:
        """Whether the two are one picture."""
        return (pair[1] - pair[0]) % self.originals == 0


def _quality(lab: Lab) -> list[Figure]:
    """Of each pair that a method calls near: is it one picture?"""
    count = 120 if lab.quick else CATALOGUE_SIZE
    made = _made(lab, catalogue_pictures(count))
    pairs = {method: _pairs(made, method) for method in METHODS}
    figures = []
    for number, what in enumerate(CHANGES, start=1):
        wanted = {(at, at + number * count) for at in range(count)}
        shares = [100 * len(wanted & pairs[method]) / count for method in METHODS]
        figures.append(_figure(f"found when {what}", "%", shares))
    right = [sum(map(made.is_right, pairs[method])) for method in METHODS]
    precision = [100 * good / max(1, len(pairs[method])) for good, method in zip(right, METHODS, strict=True)]
    figures.append(
        _figure("precision over all of these", "%", precision, note="pairs called near that are one picture")
    )
    return [*figures, _look_alikes(pairs, count)]


def _look_alikes(pairs: dict[str, Pairs], count: int) -> Figure:
    """Pairs among the originals, which are all different."""
    wrong = {method: [pair for pair in pairs[method] if pair[1] < count] for method in METHODS}
    kinds = catalogue_subcategories()
    related = sum(kinds[one] == kinds[other] for one, other in wrong["perceptual"])
    note = f"of {count * (count - 1) // 2:,}; {related} of the perceptual ones are of one subcategory, such as hearts"
    numbers = [float(len(wrong[method])) for method in METHODS]
    return _figure("pairs of different pictures called near", "pairs", numbers, note=note, higher_is_better=False)


def _figure(name: str, unit: str, numbers: list[float], *, note: str = "", higher_is_better: bool = True) -> Figure:
    exact, perceptual, semantic = (
        Samples(method, unit, [number]) for method, number in zip(METHODS, numbers, strict=True)
    )
    return Figure(name, perceptual, [exact, semantic], note=note, higher_is_better=higher_is_better)


def _made(lab: Lab, originals: list[bytes]) -> _Made:
    folder = lab.stack.folder / "made"
    folder.mkdir()
    drawings = [decode(data, DecodeLimits()) for data in originals]
    pictures: list[Candidate] = []

    def add(data: bytes) -> None:
        name = f"{len(pictures):06}"
        (folder / name).write_bytes(data)
        (fingerprint,) = fingerprints_of([sketch_of(decode(data, DecodeLimits()), data, DecodeLimits())])
        pictures.append(Candidate.of(name, fingerprint))

    with lab.track("made set", len(CHANGES)) as step:
        for data in originals:
            add(data)
        for change in CHANGES.values():
            for drawing in drawings:
                add(change(drawing))
            step()
    return _Made(len(originals), pictures, vectors_of(MODEL, REPOSITORY / "models.toml", folder))


def _pairs(made: _Made, method: str) -> Pairs:
    """All that a method calls near at its default threshold."""
    pictures = made.pictures
    found: Iterable[tuple[Indexes, Indexes]]
    if method == "exact":
        groups = Grouping(pictures, within=0, neighbours=None, checkpoint=lambda _: None).find(["exact"])
        return {pair for group in groups for pair in combinations(sorted(group.members), 2)}
    if method == "perceptual":
        detailed = np.array([at for at, picture in enumerate(pictures) if picture.detail >= MIN_DETAIL])
        rows = np.array([(pictures[at].perceptual, pictures[at].difference) for at in detailed], dtype=np.uint64)
        found = ((detailed[left], detailed[right]) for left, right in close_pairs(rows, DEFAULT_BITS))
    else:
        found = VectorsInMemory(made.vectors, DEFAULT_COSINE, lambda _: None).pairs(range(len(pictures)))
    pairs: Pairs = set()
    for left, right in found:
        low, high = np.minimum(left, right).tolist(), np.maximum(left, right).tolist()
        pairs.update(zip(low, high, strict=True))
    return pairs
