"""What the key of a result depends on."""

import dataclasses
import uuid
from typing import Any

import pytest

from shared.cache.results import Searched, result_key
from shared.contracts.search import SearchInput

SEARCHED = Searched("t", uuid.UUID(int=1), uuid.UUID(int=2), 3, "entry", "weights")
FILE = {"file": "file_" + "a" * 26}


def key(searched: Searched = SEARCHED, **input: Any) -> str | None:
    return result_key(searched, SearchInput.model_validate({"collection": "c", **(input or {"text": "x"})}))


@pytest.mark.parametrize(
    "change",
    [
        {"tenant": "u"},
        {"collection_id": uuid.UUID(int=9)},
        {"vectors_id": uuid.UUID(int=9)},
        {"version": 4},
        {"model_entry": "other"},
        {"weights": "other"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_another_place_is_another_key(change: dict[str, Any]) -> None:
    assert key(dataclasses.replace(SEARCHED, **change)) not in (key(), None)


def test_every_part_of_the_place_counts() -> None:
    assert len(dataclasses.fields(Searched)) == 6, "add what is new to the test above"


def test_the_names_of_collection_and_model_do_not_count() -> None:
    assert key(text="x", collection="d", model="m") == key(text="x")


@pytest.mark.parametrize(
    ("input", "kept"),
    [
        ({"image": FILE}, True),
        ({"query": [{"image": FILE}, {"text": "x"}]}, True),
        ({"image": "https://example.com/a.png"}, False),
        ({"text": "x", "image": {"base64": "AAAA"}}, False),
        ({"query": [{"image": FILE}, {"image": "https://example.com/a.png", "weight": -1.0}]}, False),
    ],
)
def test_only_pictures_that_cannot_change_are_kept(input: dict[str, Any], kept: bool) -> None:
    assert (key(**input) is not None) == kept
