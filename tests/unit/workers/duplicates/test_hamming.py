"""Close hashes are found, all of them and no others, without comparing all with all."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import JobCanceled
from workers.duplicates.components import Components
from workers.duplicates.hamming import SLICE, Hashes, close_pairs

WORDS = st.integers(min_value=0, max_value=2**64 - 1)


@st.composite
def crowded(draw: st.DrawFn) -> list[tuple[int, int]]:
    """Hashes that lie round a few centres, so that distances on both sides of any bound come up."""
    centres = draw(st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=3))
    flips = st.lists(st.integers(0, 63), max_size=18)
    made = draw(st.lists(st.tuples(st.sampled_from(centres), flips, flips), min_size=1, max_size=25))
    return list({(flipped(a, first), flipped(b, second)) for (a, b), first, second in made})


def flipped(word: int, bits: list[int]) -> int:
    for bit in bits:
        word ^= 1 << bit
    return word


def pairs_of(hashes: list[tuple[int, int]], within: int) -> set[tuple[int, int]]:
    rows = np.array(hashes, dtype=np.uint64).reshape(-1, 2)
    found = [(int(a), int(b)) for left, right in close_pairs(rows, within) for a, b in zip(left, right, strict=True)]
    return {(min(pair), max(pair)) for pair in found}


@given(crowded(), st.integers(0, 15))
def test_pairs_are_those_of_comparing_all_with_all(hashes: list[tuple[int, int]], within: int) -> None:
    expected = {
        (i, j)
        for j in range(len(hashes))
        for i in range(j)
        if all((a ^ b).bit_count() <= within for a, b in zip(hashes[i], hashes[j], strict=True))
    }
    assert pairs_of(hashes, within) == expected


def test_a_bucket_that_many_share_is_gone_through_in_slices() -> None:
    count = 3_000  # they differ in one chunk of four: in the other three, every pair is a candidate
    number = np.arange(count, dtype=np.uint64)
    hashes = np.zeros((count, 1), dtype=np.uint64)
    for bit in range(12):
        hashes[:, 0] |= (number >> np.uint64(bit) & np.uint64(1)) << np.uint64(4 * bit)
    found = list(close_pairs(hashes, 1))
    assert max(len(left) for left, _ in found) < SLICE < count * count // 2
    assert len(found) > 3, "more than one slice for a chunk"
    assert {int(left ^ right).bit_count() for part in found for left, right in zip(*part, strict=True)} == {1}


def test_it_can_be_stopped_on_the_way() -> None:
    hashes: Hashes = np.random.default_rng(1).integers(0, 2**64, (100, 2), dtype=np.uint64)
    shares = []

    def checkpoint(share: float) -> None:
        shares.append(share)
        if share > 0.5:
            raise JobCanceled

    with pytest.raises(JobCanceled):
        list(close_pairs(hashes, 8, checkpoint=checkpoint))
    assert shares == sorted(shares)


@given(st.lists(st.tuples(st.integers(0, 19), st.integers(0, 19)), max_size=30), st.integers(1, 5))
def test_components_are_what_can_be_reached(pairs: list[tuple[int, int]], parts: int) -> None:
    components = Components(20)
    for part in range(parts):
        chosen = np.array(pairs[part::parts], dtype=np.int64).reshape(-1, 2)
        components.join(chosen[:, 0], chosen[:, 1])
    reach = [{node} for node in range(20)]
    for _ in range(20):
        for a, b in pairs:
            reach[a] = reach[b] = reach[a] | reach[b]
            for node in reach[a]:
                reach[node] = reach[a]
    expected = sorted({tuple(sorted(group)) for group in reach if len(group) > 1})
    assert [tuple(group) for group in components.groups()] == expected


def test_hashes_that_all_lie_close_together_are_compared_until_they_are_connected() -> None:
    """Weeks of one fixed camera: of 200 million pairs a tenth says all there is to say."""
    random = np.random.default_rng(0)
    flipped = random.integers(0, 64, (20_000, 2, 4))
    rows = np.bitwise_or.reduce(np.uint64(1) << flipped.astype(np.uint64), axis=2)
    components, compared = Components(len(rows)), 0
    for left, right in close_pairs(rows, 10, labels=components.labels):
        components.join(left, right)
        compared += len(left)
    assert len(components.groups()[0]) == len(rows)
    assert compared < 40_000_000
