"""Connected components that grow as pairs come in."""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

Indexes = NDArray[np.int64]

ENOUGH = 1 << 20
"""Pairs that are kept before they are merged."""


class Components:
    """Nodes 0 to n-1, all apart at first."""

    def __init__(self, nodes: int) -> None:
        self._labels: Indexes = np.arange(nodes, dtype=np.int64)
        self._waiting: list[tuple[Indexes, Indexes]] = []
        self._held = 0

    def join(self, left: Indexes, right: Indexes) -> None:
        """Connect `left[i]` with `right[i]`."""
        self._waiting.append((left, right))
        self._held += len(left)
        if self._held >= ENOUGH:
            self._merge()

    def labels(self) -> Indexes:
        """`(n,)`: equal for nodes that are connected."""
        self._merge()
        return self._labels

    def groups(self) -> list[list[int]]:
        """The components of two nodes or more: each in ascending order, by their first node."""
        self._merge()
        order = np.argsort(self._labels, kind="stable")
        starts = np.flatnonzero(np.diff(self._labels[order], prepend=-1))
        groups = [group.tolist() for group in np.split(order, starts[1:]) if len(group) > 1]
        return sorted(groups)

    def _merge(self) -> None:
        if not self._held:
            return
        left = self._labels[np.concatenate([left for left, _ in self._waiting])]
        right = self._labels[np.concatenate([right for _, right in self._waiting])]
        nodes = len(self._labels)
        graph = coo_array((np.ones(len(left), dtype=np.bool_), (left, right)), shape=(nodes, nodes))
        _, merged = connected_components(graph, directed=False)
        self._labels = merged[self._labels].astype(np.int64)
        self._waiting, self._held = [], 0
