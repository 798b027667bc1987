"""What a search may ask for, and where it is told that it may not."""

from typing import Any

import pytest
from pydantic import ValidationError

from shared.contracts.search import MAX_PARTS, SEARCH, SearchInput, SearchResult

PICTURE = {"url": "https://example.com/a.jpg"}


def parse(**input: Any) -> SearchInput:
    return SearchInput.model_validate({"collection": "c", **input})


@pytest.mark.parametrize(
    ("input", "path", "fix"),
    [
        ({}, "", "give at least one of text, image, item, vector, query"),
        ({"query": []}, "query", "at least 1"),
        ({"query": [{"text": "a"}] * (MAX_PARTS + 1)}, "query", f"at most {MAX_PARTS}"),
        ({"query": [{}]}, "query.0", "exactly one of"),
        ({"query": [{"weight": 2}]}, "query.0", "exactly one of"),
        ({"query": [{"text": "a"}, {"text": "b", "item": "c"}]}, "query.1", "exactly one of"),
        ({"query": [{"text": "a", "weight": 101}]}, "query.0.weight", "100"),
        ({"query": [{"text": "a", "weight": float("inf")}]}, "query.0.weight", "finite"),
        ({"query": [{"text": "a", "weight": "2"}]}, "query.0.weight", "number"),
        ({"query": [{"text": "a", "colour": 1}]}, "query.0.colour", "Extra"),
        ({"query": [{"text": "a", "weight": -1}, {"item": "b", "weight": 0}]}, "query", "a positive weight"),
        ({"query": [{"text": "a", "weight": 0}, {"item": "b", "weight": 0}]}, "query", "no weight but 0"),
        ({"text_match": "a"}, "text_match", "add a text, image, item, vector or query"),
        ({"text": "a", "text_match": "?!"}, "text_match", "no word"),
        ({"text": "a", "text_match": ""}, "text_match", "at least 1"),
        ({"text": "a", "top_k": 0}, "top_k", "1"),
        ({"text": "a", "top_k": 1001}, "top_k", "1000"),
        ({"text": "a", "offset": -1}, "offset", "0"),
        ({"text": "a", "offset": 10001}, "offset", "10000"),
        ({"text": "a", "min_score": 1.5}, "min_score", "1"),
        ({"text": "a", "calibrated": "yes"}, "calibrated", "boolean"),
        ({"text": "a", "include_payload": "price"}, "include_payload", "true, false, or a list"),
        ({"text": "a", "include_payload": []}, "include_payload", "true, false, or a list"),
        ({"text": "a", "include_payload": ["a", "b..c"]}, "include_payload", "entry 1 must be a dotted name"),
        ({"text": "a", "include_payload": [3]}, "include_payload", "entry 0 must be a dotted name"),
        ({"vector": []}, "vector", "at least 1"),
    ],
)
def test_a_fault_is_told_at_its_path_with_what_to_do(input: dict[str, Any], path: str, fix: str) -> None:
    with pytest.raises(ValidationError) as refused:
        parse(**input)
    (error,) = refused.value.errors()
    assert ".".join(map(str, error["loc"])) == path
    assert fix in error["msg"]


@pytest.mark.parametrize(
    "input",
    [
        {"query": [{"text": "a", "weight": -1}], "item": "b"},
        {"query": [{"text": "a", "weight": 0}], "vector": [1.0]},
        {"query": [{"text": "a", "weight": -100}, {"text": "b", "weight": 0.5}]},
        {"query": [{"image": PICTURE}], "text_match": "SKU-1042"},
        {"item": "a", "include_payload": ["size.eu", "price"]},
        {"item": "a", "include_payload": False},
        {"item": "a", "query": None, "text_match": None},
    ],
)
def test_what_has_something_to_be_near_to_is_accepted(input: dict[str, Any]) -> None:
    parse(**input)


def test_one_fault_does_not_make_another() -> None:
    """A text that is no text is still a query beside the negative part."""
    with pytest.raises(ValidationError) as refused:
        parse(text=3, query=[{"text": "a", "weight": -1}], text_match="x")
    assert [error["loc"] for error in refused.value.errors()] == [("text",)]


def test_parts_have_their_paths_and_weights() -> None:
    input = parse(text="a", vector=[1.0], query=[{"text": "b", "weight": -2}, {"item": "c"}])
    found = [(path, part.weight) for path, part in input.parts()]
    assert found == [("text", 1), ("vector", 1), ("query.0.text", -2), ("query.1.item", 1)]


def test_pictures_within_the_query_are_known_by_their_paths() -> None:
    input = parse(image=PICTURE, query=[{"text": "a"}, {"image": PICTURE, "weight": -1}])
    assert [path for path, _ in SEARCH.pictures(input)] == ["image", "query.1.image"]


def test_what_was_not_asked_for_is_not_in_the_answer() -> None:
    bare = SearchResult.model_construct(id="a", score=0.5, cosine=0.5, distance=0.5)
    assert set(bare.model_dump(mode="json")) == {"id", "score", "cosine", "distance"}
    full = SearchResult(id="a", score=1, cosine=1, distance=0, relevance=0.0, payload={}, text="", vector=[1.0])
    assert full.model_dump(mode="json")["payload"] == {}
    assert len(full.model_dump(mode="json")) == 8
