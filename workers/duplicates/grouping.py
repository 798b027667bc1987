"""Groups of duplicates, each of one kind.

Kinds are looked for one after the other, and each sees only what the one before would keep: exact copies first, whether
they were asked for or not, so that no other kind ever holds two of them; then look-alikes, one picture of each set of
copies; then near vectors, one picture of each group of look-alikes where those were asked for. So no picture is a
duplicate twice, and the duplicates of all groups together are what can go.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from shared.contracts.deduplicate import Method
from workers.duplicates.components import Components, Indexes
from workers.duplicates.hamming import close_pairs
from workers.duplicates.pictures import Candidate, keeper_of

MIN_DETAIL = 16
"""Pictures with fewer bits that stand out of noise look like each other to hashes, whatever they show: gradients have
up to 9, the catalogue's pictures 27 at least."""

Groups = list[list[int]]
Checkpoint = Callable[[float], None]


class Neighbours(Protocol):
    """Vectors of the pictures."""

    def pairs(self, among: Sequence[int]) -> Iterable[tuple[Indexes, Indexes]]:
        """Pairs of pictures, of these alone, whose cosine reaches the threshold."""

    def distances(self, keeper: int, others: Sequence[int]) -> list[float]:
        """1 - cosine of each to the keeper, 0 to 2."""


@dataclass(frozen=True)
class Group:
    """Pictures that are duplicates of each other, the one to keep first; `distances` to it, in their order."""

    kind: Method
    members: list[int]
    distances: list[float]


class Grouping:
    """The pictures of one job.

    Args:
        within: bits that both hashes of two look-alikes may differ by at most.
        neighbours: needed for the semantic method alone.
        checkpoint: called with the share of looking for look-alikes that is done; what it raises ends it all.
    """

    def __init__(
        self, pictures: Sequence[Candidate], *, within: int, neighbours: Neighbours | None, checkpoint: Checkpoint
    ) -> None:
        self._pictures = pictures
        self._within = within
        self._neighbours = neighbours
        self._checkpoint = checkpoint

    def find(self, methods: Sequence[Method]) -> list[Group]:
        """Exact groups, then perceptual, then semantic ones; in each kind large ones first, then by the keeper's id."""
        exact = self._exact()
        left = self._keepers(range(len(self._pictures)), exact)
        groups = self._exact_groups(exact) if "exact" in methods else []
        if "perceptual" in methods:
            alike = self._perceptual(left)
            left = self._keepers(left, alike)
            groups += self._perceptual_groups(alike)
        if "semantic" in methods and self._neighbours is not None:
            groups += self._semantic(left, self._neighbours)
        return groups

    def _exact(self) -> Groups:
        """Components of pictures with the same file or the same pixels."""
        first_file: dict[bytes, int] = {}
        first_pixels: dict[bytes, int] = {}
        pairs = []
        for index, picture in enumerate(self._pictures):
            pairs.append((index, first_file.setdefault(picture.file_hash, index)))
            pairs.append((index, first_pixels.setdefault(picture.pixel_hash, index)))
        components = Components(len(self._pictures))
        columns = np.asarray(pairs, dtype=np.int64).reshape(-1, 2)
        components.join(columns[:, 0], columns[:, 1])
        return components.groups()

    def _perceptual(self, among: Sequence[int]) -> Groups:
        """Components of pictures whose hashes are close, among these; blank ones are like none."""
        detailed = np.array([i for i in among if self._pictures[i].detail >= MIN_DETAIL], dtype=np.int64)
        if not len(detailed):
            return []
        hashes = np.array(
            [(self._pictures[i].perceptual, self._pictures[i].difference) for i in detailed], dtype=np.uint64
        )
        distinct, same = np.unique(hashes, axis=0, return_inverse=True)
        alike = Components(len(distinct))
        close = close_pairs(distinct, self._within, labels=alike.labels, checkpoint=self._checkpoint)
        for left, right in close:
            alike.join(left, right)
        label = alike.labels()[same.reshape(-1)]
        _, one_each = np.unique(label, return_index=True)
        components = Components(len(self._pictures))
        components.join(detailed, detailed[one_each[np.searchsorted(label[one_each], label)]])
        return components.groups()

    def _semantic(self, among: Sequence[int], neighbours: Neighbours) -> list[Group]:
        components = Components(len(self._pictures))
        for left, right in neighbours.pairs(among):
            components.join(left, right)
        return self._made("semantic", components.groups(), neighbours.distances)

    def _exact_groups(self, groups: Groups) -> list[Group]:
        return self._made("exact", groups, lambda _, others: [0.0] * len(others))

    def _perceptual_groups(self, groups: Groups) -> list[Group]:
        return self._made("perceptual", groups, lambda keeper, others: [self._bits(keeper, other) for other in others])

    def _bits(self, one: int, other: int) -> float:
        """Bits that differ, in the hash that differs more."""
        a, b = self._pictures[one], self._pictures[other]
        return float(max((a.perceptual ^ b.perceptual).bit_count(), (a.difference ^ b.difference).bit_count()))

    def _made(self, kind: Method, groups: Groups, measure: Callable[[int, Sequence[int]], list[float]]) -> list[Group]:
        made = []
        for group in groups:
            self._checkpoint(1.0)
            keeper = keeper_of(self._pictures, group)
            others = [index for index in group if index != keeper]
            measured = sorted(
                zip(measure(keeper, others), others, strict=True),
                key=lambda entry: (entry[0], self._pictures[entry[1]].id),
            )
            made.append(Group(kind, [keeper, *(i for _, i in measured)], [0.0, *(far for far, _ in measured)]))
        return sorted(made, key=lambda group: (-len(group.members), self._pictures[group.members[0]].id))

    def _keepers(self, among: Iterable[int], groups: Groups) -> list[int]:
        """What is left of `among` when of each group only the one to keep stays."""
        gone = {index for group in groups for index in group} - {keeper_of(self._pictures, group) for group in groups}
        return [index for index in among if index not in gone]
