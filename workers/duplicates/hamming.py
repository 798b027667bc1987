"""Hashes that lie within a few bits of each other, without comparing all with all.

Multi-index hashing (Norouzi, Punjani and Fleet, 2012): 64 bits are cut into 4 chunks of 16. Two hashes within `r` bits
agree in at least one chunk up to `r // 4` bits, so only hashes whose chunks are that close are compared.
"""

from collections.abc import Callable, Iterator
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from workers.duplicates.components import Indexes

Hashes = NDArray[np.uint64]

CHUNKS = 4
CHUNK_BITS = 16
SLICE = 1 << 20
"""Pairs compared at once: bounds memory, whatever the hashes are."""
DENSE = 16
"""A slice of which one pair in so many is close likely connects most of what is left to compare: what is connected by
then is looked up anew. Hashes of pictures are far from it."""
FEW = 16
"""Fewer new pairs than one for so many hashes change too little to look up what is connected for."""


def close_pairs(
    hashes: Hashes,
    within: int,
    *,
    labels: Callable[[], Indexes] | None = None,
    checkpoint: Callable[[float], None] = lambda _: None,
) -> Iterator[tuple[Indexes, Indexes]]:
    """All pairs of rows that are within so many bits of each other in every column, a slice at a time.

    A pair may come up to four times. Time grows with the pairs that share a chunk: near-linear for hashes of pictures;
    equal rows are for the caller to collapse.

    Args:
        hashes: `(n, columns)`; the first column is the one that is cut into chunks.
        within: bits, 0 to 15.
        labels: `(n,)`, asked for again and again: pairs with equal ones are not wanted any more. It keeps many hashes
            that lie close together from being compared in all their pairs, once they are known to be connected.
        checkpoint: called between slices with the share of the work that is done; what it raises ends it all.
    """
    masks = _masks(within // CHUNKS)
    passes = CHUNKS * len(masks)
    known: Indexes | None = None
    new = 0
    for number, values in enumerate(_chunks(hashes[:, 0])):
        order = np.argsort(values, kind="stable")
        ordered, values = np.ascontiguousarray(hashes[order].T), values[order]
        offsets = np.searchsorted(values, np.arange((1 << CHUNK_BITS) + 1))
        for at, mask in enumerate(masks):
            row = 0
            while row < len(values):
                checkpoint((number * len(masks) + at) / passes)
                if labels is not None and new * FEW >= len(values):
                    known, new = labels(), 0
                connected = None if known is None else _uniform(known[order], offsets)
                for following, left, right in _candidates(values, offsets, mask, row, connected):
                    checkpoint((number * len(masks) + at) / passes)
                    near, other = _close(ordered, left, right, within)
                    if len(near):
                        new += len(near)
                        yield order[near], order[other]
                    if labels is not None and len(near) * DENSE > len(left):
                        row, new = following, len(values)
                        break
                else:
                    row = len(values)


def _close(columns: Hashes, left: Indexes, right: Indexes, within: int) -> tuple[Indexes, Indexes]:
    """Those of the pairs that are within so many bits in every one of the columns, `(columns, n)`."""
    for column in columns:
        close = np.bitwise_count(column[left] ^ column[right]) <= within
        left, right = left[close], right[close]
    return left, right


def _masks(radius: int) -> list[int]:
    """All ways to change up to so many bits of a chunk; none at all comes first."""
    return [
        sum(1 << bit for bit in bits)
        for changed in range(radius + 1)
        for bits in combinations(range(CHUNK_BITS), changed)
    ]


def _chunks(hashes: Hashes) -> Iterator[Indexes]:
    """Every fourth bit goes into the same chunk: neighbouring bits of a pHash tell much the same, and chunks made of
    them would be shared by many pictures.
    """
    bits = np.unpackbits(hashes.astype(">u8").view(np.uint8).reshape(-1, 8), axis=1)
    for chunk in range(CHUNKS):
        packed = np.packbits(bits[:, chunk::CHUNKS], axis=1).astype(np.int64)
        yield packed[:, 0] << 8 | packed[:, 1]


def _uniform(labels: Indexes, offsets: Indexes) -> Indexes:
    """The label that all places with a value have, by value; -1 where they have several, or there are none."""
    found = np.full(1 << CHUNK_BITS, -1, dtype=np.int64)
    used = np.flatnonzero(np.diff(offsets))
    low, high = (reduce(labels, offsets[used]) for reduce in (np.minimum.reduceat, np.maximum.reduceat))
    found[used] = np.where(low == high, low, -1)
    return found


def _candidates(
    values: Indexes, offsets: Indexes, mask: int, row: int, connected: Indexes | None
) -> Iterator[tuple[int, Indexes, Indexes]]:
    """Pairs of places whose values differ in exactly the bits of `mask`, each pair once, without those that are
    connected already: from the left place `row` on, and with each slice the place that the next one begins at.
    `values`: sorted.
    """
    if mask:
        left = np.flatnonzero(values & (1 << (mask.bit_length() - 1)) == 0)
        partner = values[left] ^ mask
        begin, end = offsets[partner], offsets[partner + 1]
    else:
        left = np.arange(len(values), dtype=np.int64)
        begin, end = left + 1, offsets[values + 1]
    some = (end > begin) & (left >= row)
    if connected is not None:
        one, other = connected[values[left]], connected[values[left] ^ mask]
        some &= (one != other) | (one < 0)
    left, begin, counts = left[some], begin[some], (end - begin)[some]
    before = np.concatenate([[0], np.cumsum(counts)])
    start = 0
    while start < len(left):
        stop = max(start + 1, int(np.searchsorted(before, before[start] + SLICE, side="right")) - 1)
        part = counts[start:stop]
        first = np.repeat(begin[start:stop] - (before[start:stop] - before[start]), part)
        following = int(left[stop]) if stop < len(left) else len(values)
        yield following, np.repeat(left[start:stop], part), first + np.arange(len(first))
        start = stop
