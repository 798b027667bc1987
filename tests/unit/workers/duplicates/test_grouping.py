"""Groups: their kinds are never mixed, and what is found is what comparing all with all would find."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.contracts.deduplicate import Method
from workers.duplicates.components import Indexes
from workers.duplicates.grouping import MIN_DETAIL, Group, Grouping
from workers.duplicates.pictures import Candidate, keeper_of

WITHIN = 4
HASHES = st.sampled_from([0, 0b111, 0b1111000, 0xFF << 40, 0xFFFF << 20, 0b101010 << 50])
METHODS: tuple[Method, ...] = ("exact", "perceptual", "semantic")


def picture(id: str, **fields: object) -> Candidate:
    base = Candidate(
        id=id, file_hash=id.encode(), pixel_hash=id.encode(), perceptual=0, difference=0, detail=64,
        width=10, height=10, size=100, taken_at=None,
    )  # fmt: skip
    return replace(base, **fields)  # type: ignore[arg-type]


@st.composite
def libraries(draw: st.DrawFn) -> list[Candidate]:
    """Pictures that share files, pixels and looks in all ways, also in chains."""
    few = st.integers(0, 6)
    return [
        picture(
            f"p{number:02}",
            file_hash=bytes([draw(few)]) if draw(st.booleans()) else b"file" + bytes([number]),
            pixel_hash=bytes([draw(few)]) if draw(st.booleans()) else b"pixels" + bytes([number]),
            perceptual=draw(HASHES),
            difference=draw(HASHES),
            detail=draw(st.sampled_from([3, MIN_DETAIL, 64])),
            width=draw(st.integers(1, 3)),
            size=draw(st.integers(1, 2)),
            taken_at=draw(st.sampled_from([None, "2020-01-01T00:00:00", "2021-01-01T00:00:00+02:00"])),
        )
        for number in range(draw(st.integers(0, 14)))
    ]


class Planes:
    """Vectors that are near when the pictures' pHashes are equal in their lowest bit."""

    def __init__(self, pictures: Sequence[Candidate]) -> None:
        self.bits = [picture.perceptual & 1 for picture in pictures]

    def pairs(self, among: Sequence[int]) -> Iterator[tuple[Indexes, Indexes]]:
        for one, other in combinations(among, 2):
            if self.bits[one] == self.bits[other]:
                yield np.array([one]), np.array([other])

    def distances(self, keeper: int, others: Sequence[int]) -> list[float]:
        return [0.01] * len(others)


def found(pictures: Sequence[Candidate], methods: Sequence[Method], within: int = WITHIN) -> list[Group]:
    grouping = Grouping(pictures, within=within, neighbours=Planes(pictures), checkpoint=lambda _: None)
    return grouping.find(methods)


def exact(one: Candidate, other: Candidate) -> bool:
    return one.file_hash == other.file_hash or one.pixel_hash == other.pixel_hash


def alike(one: Candidate, other: Candidate) -> bool:
    far = max((one.perceptual ^ other.perceptual).bit_count(), (one.difference ^ other.difference).bit_count())
    return far <= WITHIN and min(one.detail, other.detail) >= MIN_DETAIL


def reference(pictures: Sequence[Candidate], among: Sequence[int], near: object) -> set[frozenset[int]]:
    """Components by comparing all with all."""
    group = {index: {index} for index in among}
    for one, other in combinations(among, 2):
        if near(pictures[one], pictures[other]):  # type: ignore[operator]
            joined = group[one] | group[other]
            for index in joined:
                group[index] = joined
    return {frozenset(each) for each in group.values() if len(each) > 1}


def survivors(pictures: Sequence[Candidate], among: Sequence[int], groups: set[frozenset[int]]) -> list[int]:
    gone = {index for group in groups for index in group if index != keeper_of(pictures, sorted(group))}
    return [index for index in among if index not in gone]


@given(libraries(), st.lists(st.sampled_from(METHODS), min_size=1, max_size=3, unique=True))
def test_groups_are_those_of_the_reference(pictures: list[Candidate], methods: list[Method]) -> None:
    copies = reference(pictures, range(len(pictures)), exact)
    left = survivors(pictures, range(len(pictures)), copies)
    looks = reference(pictures, left, alike)
    remaining = survivors(pictures, left, looks) if "perceptual" in methods else left
    near = reference(pictures, remaining, lambda a, b: a.perceptual & 1 == b.perceptual & 1)
    expected = {"exact": copies, "perceptual": looks, "semantic": near}
    groups = found(pictures, methods)
    for method in METHODS:
        mine = {frozenset(group.members) for group in groups if group.kind == method}
        assert mine == (expected[method] if method in methods else set())


@given(libraries(), st.lists(st.sampled_from(METHODS), min_size=1, max_size=3, unique=True))
def test_kinds_are_never_mixed_and_nothing_is_a_duplicate_twice(
    pictures: list[Candidate], methods: list[Method]
) -> None:
    groups = found(pictures, methods)
    for group in groups:
        for one, other in combinations(group.members, 2):
            if group.kind != "exact":
                assert not exact(pictures[one], pictures[other])
        if group.kind == "exact":
            chained = reference([pictures[index] for index in group.members], range(len(group.members)), exact)
            assert chained == {frozenset(range(len(group.members)))}
    duplicates = [index for group in groups for index in group.members[1:]]
    assert len(duplicates) == len(set(duplicates))


@given(libraries(), st.randoms(use_true_random=False))
def test_the_order_of_pictures_does_not_matter(pictures: list[Candidate], random: object) -> None:
    shuffled = list(pictures)
    random.shuffle(shuffled)  # type: ignore[attr-defined]

    def named(library: list[Candidate]) -> list[tuple[str, list[str], list[float]]]:
        return [
            (group.kind, [library[index].id for index in group.members], group.distances)
            for group in found(library, METHODS)
        ]

    assert named(pictures) == named(shuffled)


def test_copies_in_other_formats_are_exact_and_their_lookalike_is_not() -> None:
    png = picture("png", pixel_hash=b"same", size=300)
    jpeg = picture("jpeg", pixel_hash=b"same", size=100)
    smaller = picture("smaller", width=5, perceptual=0b11)
    groups = found([jpeg, png, smaller], ["exact", "perceptual"])
    assert [(group.kind, group.members, group.distances) for group in groups] == [
        ("exact", [1, 0], [0.0, 0.0]),
        ("perceptual", [1, 2], [0.0, 2.0]),
    ]


def test_semantic_alone_leaves_exact_copies_out() -> None:
    pictures = [picture("a", file_hash=b"f"), picture("b", file_hash=b"f"), picture("c")]
    assert [group.members for group in found(pictures, ["semantic"])] == [[0, 2]]


def test_blank_pictures_look_like_nothing() -> None:
    blank = [picture(f"b{number}", detail=1) for number in range(4)]
    assert found(blank, ["perceptual"]) == []
    copies = [replace(one, pixel_hash=b"white") for one in blank]
    assert [group.kind for group in found(copies, ["exact", "perceptual"])] == ["exact"]


@pytest.mark.parametrize(
    "better",
    [{"width": 11}, {"size": 101}, {"taken_at": "2019-05-05T10:00:00"}, {"taken_at": "2020-01-01T00:59:00+02:00"}],
    ids=str,
)
def test_the_keeper_is_large_then_heavy_then_old(better: dict[str, object]) -> None:
    plain = {"taken_at": "2020-01-01T00:00:00"}
    pictures = [picture("a", **plain), picture("b", **{**plain, **better}), picture("c", **plain)]
    assert keeper_of(pictures, [0, 1, 2]) == 1


def test_among_equals_the_first_id_is_kept_and_no_date_is_young() -> None:
    assert keeper_of([picture("b"), picture("a")], [0, 1]) == 1
    assert keeper_of([picture("a"), picture("b", taken_at="2024-01-01T00:00:00")], [0, 1]) == 1


def test_many_equal_hashes_are_compared_once() -> None:
    pictures = [picture(f"{number:05}") for number in range(20_000)]
    (group,) = found(pictures, ["perceptual"])
    assert len(group.members) == 20_000
