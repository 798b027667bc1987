"""Hybrid searches, relevance, filters and what results show, through the handler."""

from typing import Any

import numpy as np
import pytest

from shared.contracts.search import SearchInput, SearchOutput
from shared.errors import ErrorCode
from shared.vectors.protocol import Point
from workers.handlers.search import handle

from .room import ITEMS, ask, found, ids, refused, stocked, vectors

ROOM = stocked()


@pytest.mark.parametrize("number", [1042, 1007, 1299])
def test_a_name_is_found_first_though_the_model_knows_nothing_of_it(number: int) -> None:
    """Each of the 300 texts has `sku` and `thing`; the vector of the words is that of none of them."""
    words = f"SKU-{number}"
    assert ids(ROOM, text=words, text_match=words, top_k=1) == [f"item-{number - 1000:03}"]
    assert ids(ROOM, text=words, top_k=1) != [f"item-{number - 1000:03}"]


def test_a_hybrid_result_has_both_scores() -> None:
    named, *rest = found(ROOM, text="red", text_match="1042", top_k=20)
    only_near = found(ROOM, text="red", top_k=20)
    assert named.id == "item-042"
    assert named.score >= 1 / 61
    assert named.cosine == pytest.approx(float(vectors()[42] @ ROOM.model.encode_texts(["red"])[0]), abs=1e-5)
    assert [result.id for result in rest] == [result.id for result in only_near if result.id != "item-042"][:19]
    assert {result.id: result.cosine for result in rest}.items() <= {r.id: r.cosine for r in only_near}.items()


def test_no_cosine_lies_beyond_one() -> None:
    """Of vectors in single precision, some are longer than 1 by a hair."""
    room = stocked(1)
    (row,) = [vector for vector in vectors(200) if np.linalg.norm(vector.astype(np.float64)) > 1 + 2e-8][:1]
    collection = room.collections.find("t", "things")
    assert collection is not None
    room.vectors.upsert(collection.ref, [Point(f"copy-{n:03}", row, {}, f"number {n}") for n in range(150)])
    copy = found(room, vector=row.tolist(), text_match="149", top_k=1)[0]
    assert copy.id == "copy-149"
    assert copy.cosine == pytest.approx(1, abs=1e-6)
    assert copy.cosine <= 1
    assert copy.distance >= 0


def test_hybrid_pages_continue_each_other() -> None:
    whole = ids(ROOM, text="red", text_match="1042 thing", top_k=60)
    pages = [ids(ROOM, text="red", text_match="1042 thing", top_k=20, offset=offset) for offset in (0, 20, 40)]
    assert [id for page in pages for id in page] == whole
    assert len(set(whole)) == 60


def test_filter_exclusion_and_least_cosine_hold_for_both_rankings() -> None:
    even = found(ROOM, text="red", text_match="1042 1043", filter={"even": True}, top_k=ITEMS)
    assert even[0].id == "item-042"
    assert all(result.payload and result.payload["even"] for result in even)
    assert "item-042" not in ids(ROOM, item="item-042", text_match="1042", top_k=ITEMS)
    cosine = even[0].cosine
    above = found(ROOM, text="red", text_match="1042", min_score=cosine + 1e-3, top_k=ITEMS)
    assert "item-042" not in [result.id for result in above]
    assert all(result.cosine >= cosine + 1e-3 for result in above)


def test_words_that_nothing_has_leave_the_order_by_vectors() -> None:
    assert ids(ROOM, text="red", text_match="zebra", top_k=9) == ids(ROOM, text="red", top_k=9)


def test_too_many_words_are_told() -> None:
    job = ROOM.job()
    text = " ".join(f"w{index}" for index in range(40))
    handle([SearchInput(collection="things", text="a", text_match=text)], ROOM.context(job))
    assert "40 words" in job.take_report().log


@pytest.mark.parametrize("more", [{}, {"text_match": "SKU-1042"}, {"query": [{"text": "a cup", "weight": -0.4}]}])
def test_relevance_is_the_same_on_every_page_and_under_every_filter(more: dict[str, Any]) -> None:
    whole = found(ROOM, text="red", calibrated=True, top_k=ITEMS, **more)
    known = {result.id: result.relevance for result in whole}
    assert all(relevance is not None and 0 <= relevance <= 1 for relevance in known.values())
    by_cosine = sorted(whole, key=lambda result: result.cosine)
    assert [r.relevance for r in by_cosine] == sorted(r.relevance for r in whole if r.relevance is not None)
    for options in ({"offset": 30}, {"filter": {"even": True}}, {"min_score": 0.1}, {"filter": {"n": {"gt": 50}}}):
        part = found(ROOM, text="red", calibrated=True, **options, **more)
        assert part
        assert {result.id: result.relevance for result in part} == pytest.approx({r.id: known[r.id] for r in part})


def test_relevance_only_where_it_was_asked_for() -> None:
    assert found(ROOM, text="red", top_k=1)[0].relevance is None
    assert found(ROOM, text="red", top_k=5, offset=ITEMS, calibrated=True) == []


@pytest.mark.parametrize("count", [1, 2, 3, 20])
def test_small_collections_are_calibrated_as_far_as_it_goes(count: int) -> None:
    results = found(stocked(count), text="red", calibrated=True, top_k=50)
    assert len(results) == count
    found_relevances = [result.relevance for result in results]
    assert all(relevance is not None and 0 <= relevance <= 1 for relevance in found_relevances)
    assert found_relevances == sorted(found_relevances, reverse=True)  # type: ignore[type-var]
    if count == 1:
        assert found_relevances == [0.5]


@pytest.mark.parametrize(
    ("shown", "payload", "text"),
    [
        (True, {"n": 1, "even": False, "size": {"eu": 1}}, "SKU-1001 thing"),
        (False, None, None),
        (["size.eu", "n", "missing"], {"size": {"eu": 1}, "n": 1}, None),
    ],
)
@pytest.mark.parametrize("more", [{}, {"text_match": "1001"}])
def test_as_much_of_the_payload_as_asked_for(shown: Any, payload: Any, text: Any, more: dict[str, Any]) -> None:
    (result,) = found(ROOM, vector=vectors()[1].tolist(), top_k=1, include_payload=shown, **more)
    assert (result.id, result.payload, result.text, result.vector) == ("item-001", payload, text, None)


@pytest.mark.parametrize("more", [{}, {"text_match": "1042"}])
def test_vectors_where_asked_for(more: dict[str, Any]) -> None:
    results = found(ROOM, text="red", include_vectors=True, top_k=120, **more)
    for result in results:
        assert result.vector == pytest.approx(vectors()[int(result.id[-3:])].tolist(), abs=1e-6)


@pytest.mark.parametrize("measure", ["cosine", "dot", "euclidean"])
def test_the_distance_is_the_collections_own(measure: str) -> None:
    results = found(stocked(20, distance=measure), vector=vectors()[1].tolist(), top_k=20)
    assert results[0].distance == pytest.approx(-1 if measure == "dot" else 0, abs=1e-3)
    distances = [result.distance for result in results]
    assert distances == sorted(distances)


def test_a_filter_against_the_schema_fails_the_job() -> None:
    room = stocked(5, payload_schema={"n": "number", "even": "boolean", "size.eu": "number"})
    assert len(ids(room, text="red", filter={"n": {"gte": 3}})) == 2
    for filter, path in (({"colour": "red"}, "input.filter.colour"), ({"n": "three"}, "input.filter.n")):
        error = refused(room, text="red", filter=filter)
        assert error.code is ErrorCode.INVALID_INPUT
        assert path in error.message


def test_a_filter_that_is_none_is_told_with_its_path() -> None:
    assert "input.filter.n.near" in refused(ROOM, text="red", filter={"n": {"near": 1}}).message


def test_an_empty_collection_answers_nothing() -> None:
    for more in ({}, {"text_match": "red"}, {"calibrated": True}, {"calibrated": True, "text_match": "red"}):
        assert ask(stocked(0), text="red", **more) == SearchOutput(results=[])
