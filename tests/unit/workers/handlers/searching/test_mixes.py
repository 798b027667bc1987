"""Weighted mixes against numpy, and what makes a mix impossible."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.contracts.search import SearchInput, SearchOutput
from shared.errors import ErrorCode
from tests.fakes.services import Room
from tests.unit.workers.handlers.pictures import inline, png
from workers.handlers.search import handle

from .room import ITEMS, ask, found, ids, refused, stocked, vectors

ROOM = stocked()  # nothing here writes into it
WORDS = ("red", "green", "a cup", "shoe")


def unit_of(part: dict[str, Any]) -> np.ndarray:
    """What the handler should make of a part, by other means."""
    if "text" in part:
        return ROOM.model.encode_texts([part["text"]])[0].astype(np.float64)
    if "item" in part:
        return vectors()[int(part["item"].removeprefix("item-"))].astype(np.float64)
    vector = np.array(part["vector"], dtype=np.float64)
    return vector / np.linalg.norm(vector)


numbers = st.floats(-1e6, 1e6).filter(lambda x: abs(x) > 1e-3)
whats = st.one_of(
    st.builds(lambda text: {"text": text}, st.sampled_from(WORDS)),
    st.builds(lambda index: {"item": f"item-{index:03}"}, st.integers(0, ITEMS - 1)),
    st.builds(lambda values: {"vector": values}, st.lists(numbers, min_size=16, max_size=16)),
)
weighted = st.builds(lambda what, weight: {**what, "weight": weight}, whats, st.floats(-100, 100))


@settings(max_examples=60, deadline=None)
@given(whats, st.lists(weighted, max_size=6), st.integers(0, 20), st.integers(1, 400))
def test_a_mix_finds_what_brute_force_finds(
    top_level: dict[str, Any], query: list[dict[str, Any]], offset: int, top_k: int
) -> None:
    parts = [(1.0, top_level), *((part["weight"], part) for part in query)]
    mixed = sum((weight * unit_of(part) for weight, part in parts), np.zeros(16))
    if np.linalg.norm(mixed) < 0.01 * sum(abs(weight) for weight, _ in parts):
        return  # all but canceled out: the next tests
    cosines = vectors().astype(np.float64) @ (mixed / np.linalg.norm(mixed))
    named = {part["item"] for _, part in parts if "item" in part}
    expected = [f"item-{index:03}" for index in np.argsort(-cosines) if f"item-{index:03}" not in named]

    results = found(ROOM, **top_level, **({"query": query} if query else {}), offset=offset, top_k=top_k)

    assert [result.id for result in results] == expected[offset : offset + top_k]
    by_id = {f"item-{index:03}": cosine for index, cosine in enumerate(cosines)}
    assert [result.cosine for result in results] == pytest.approx([by_id[result.id] for result in results], abs=1e-5)


def test_parts_in_the_query_weigh_as_those_beside_it() -> None:
    beside = ids(ROOM, text="red", item="item-003", query=[{"text": "cup", "weight": -0.5}])
    within = [{"text": "red"}, {"item": "item-003", "weight": 1}, {"text": "cup", "weight": -0.5}]
    assert ids(ROOM, query=within) == beside


def test_a_negative_part_pushes_away() -> None:
    near = ids(ROOM, item="item-000", top_k=10)
    away = ids(ROOM, query=[{"item": "item-000"}, {"item": near[0], "weight": -1}], top_k=100)
    assert near[0] not in away
    assert ids(ROOM, item="item-000", top_k=1, query=[{"vector": vectors()[5].tolist(), "weight": -3}]) != near[:1]


def test_items_are_left_out_whatever_their_weight() -> None:
    named = ["item-001", "item-002", "item-003"]
    query = [{"item": id, "weight": weight} for id, weight in zip(named, (2, -1, 0), strict=True)]
    assert not set(named) & set(ids(ROOM, query=query, top_k=ITEMS))


def test_every_unknown_item_is_named() -> None:
    error = refused(ROOM, item="item-001", query=[{"item": "nobody"}, {"item": "no-one", "weight": -1}])
    assert error.code is ErrorCode.ITEM_UNKNOWN
    assert "'nobody'" in error.message
    assert "'no-one'" in error.message
    assert "item-001" not in error.message


@pytest.mark.parametrize(
    "query",
    [
        [{"text": "red"}, {"text": "red", "weight": -1}],
        [{"item": "item-001", "weight": 50}, {"vector": vectors()[1].tolist(), "weight": -50}],
        [{"vector": [1.0] * 16}, {"vector": [2.0] * 16, "weight": -1.0001}],
    ],
)
def test_parts_that_cancel_out_fail_the_job(query: list[dict[str, Any]]) -> None:
    error = refused(ROOM, query=query)
    assert error.code is ErrorCode.INVALID_INPUT
    assert "cancel each other out" in error.message


@pytest.mark.parametrize(
    ("vector", "code", "says"),
    [
        ([1.0], ErrorCode.MODEL_MISMATCH, "query.0.vector has 1 numbers; the vectors of 'things' have 16"),
        ([0.0] * 16, ErrorCode.INVALID_INPUT, "query.0.vector must be finite and not all zero"),
    ],
)
def test_a_vector_that_is_none_is_named(vector: list[float], code: ErrorCode, says: str) -> None:
    error = refused(ROOM, query=[{"vector": vector}])
    assert error.code is code
    assert says in error.message


@pytest.mark.parametrize("scale", [1e-300, 1e308])
def test_a_vector_may_have_any_length(scale: float) -> None:
    assert ids(ROOM, vector=[float(x) * scale for x in vectors()[9]], top_k=1) == ["item-009"]


@pytest.mark.parametrize("scale", [1e-320, 1e-200, 1e-6, 50])
def test_weights_count_by_their_ratio_only(scale: float) -> None:
    parts = ({"item": "item-009", "weight": 2}, {"item": "item-010", "weight": -1})
    scaled = [{**part, "weight": part["weight"] * scale} for part in parts]
    assert ids(ROOM, query=scaled, top_k=20) == ids(ROOM, query=list(parts), top_k=20)


def test_pictures_mix_and_are_waited_for_together() -> None:
    room = stocked(50)
    query = [{"image": inline(png("red"))}, {"image": inline(png("blue")), "weight": -0.5}, {"text": "cup"}]
    pixels = room.model.encode_images(np.zeros((0, 3, 8, 8), dtype=np.uint8))
    assert pixels.shape == (0, 16)
    assert len(ids(room, query=query, top_k=3)) == 3
    assert room.model.image_batches[-1] == 2


def test_one_bad_picture_of_several_fails_its_job_alone() -> None:
    query = [{"image": inline(png("red"))}, {"image": {"base64": "aGVsbG8="}}, {"text": "red"}]
    assert refused(ROOM, query=query).code is ErrorCode.IMAGE_UNSUPPORTED


def test_a_text_for_a_model_that_reads_none_fails_its_job_alone() -> None:
    room: Room = stocked(5)
    room.model.reads_text = False
    assert refused(room, text="red").code is ErrorCode.MODEL_MISMATCH
    assert ids(room, item="item-001", top_k=1)
    assert ask(room, image=inline(png("red")))


def test_each_job_is_settled_once_and_those_without_pictures_first() -> None:
    room = stocked(5)
    bad = {"image": {"base64": "aGVsbG8="}}
    queries: list[dict[str, Any]] = [
        {"query": [{"image": inline(png("red"))}, bad, {"image": inline(png("blue"))}, bad]},
        {"image": inline(png("green")), "text": "cup"},
        {"text": "red"},
        {"item": "nobody"},
        {"query": [{"text": "red"}, {"text": "red", "weight": -1}]},
    ]
    jobs = [room.job() for _ in queries]
    settled: list[int] = []
    context = replace(room.context(*jobs), on_settled=lambda job, _: settled.append(jobs.index(job)))
    inputs = [SearchInput.model_validate({"collection": "things", **query}) for query in queries]
    results = handle(inputs, context)
    assert [isinstance(result, SearchOutput) for result in results] == [False, True, True, False, False]
    assert settled[:3] == [3, 2, 4]
    assert sorted(settled[3:]) == [0, 1]
    assert room.model.text_batches == [2]  # each text once
