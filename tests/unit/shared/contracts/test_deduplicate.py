"""What a deduplicate job may ask for, and what it is told when it may not."""

from typing import Any

import pytest
from pydantic import ValidationError

from shared.contracts.deduplicate import DEDUPLICATE, DeduplicateInput, Thresholds

URLS = ["https://example.com/1.jpg", "https://example.com/2.jpg"]


def read(**fields: Any) -> DeduplicateInput:
    return DeduplicateInput.model_validate(fields)


def faults(**fields: Any) -> list[tuple[str, str]]:
    with pytest.raises(ValidationError) as caught:
        read(**fields)
    return [(".".join(map(str, fault["loc"])), fault["msg"]) for fault in caught.value.errors()]


@pytest.mark.parametrize(
    "fields, bits, cosine",
    [
        ({}, 10, 0.95),
        ({"threshold": 4}, 4, 0.95),
        ({"method": "perceptual", "threshold": 4}, 4, 0.95),
        ({"method": ["exact", "semantic"], "threshold": 0.9}, 10, 0.9),
        ({"method": "semantic", "threshold": 1}, 10, 1.0),
        ({"method": ["perceptual", "semantic"], "threshold": {"perceptual": 0, "semantic": 0.5}}, 0, 0.5),
        ({"method": ["perceptual", "semantic"], "threshold": {"semantic": 0.5}}, 10, 0.5),
    ],
    ids=str,
)
def test_thresholds(fields: dict[str, Any], bits: int, cosine: float) -> None:
    assert (
        read(collection="c", **fields).threshold.model_dump()
        == Thresholds(perceptual=bits, semantic=cosine).model_dump()
    )


@pytest.mark.parametrize(
    "fields, path, message",
    [
        ({}, "", "exactly one of collection, images, directory"),
        ({"collection": "c", "directory": "photos"}, "", "exactly one of"),
        ({"images": URLS[:1]}, "images", "at least 2"),
        ({"collection": "c", "method": []}, "method", "at least 1"),
        ({"collection": "c", "method": "looks"}, "method.0", "'exact', 'perceptual' or 'semantic'"),
        ({"collection": "c", "method": ["exact", "exact"]}, "method", "twice"),
        ({"collection": "c", "threshold": 16}, "threshold.perceptual", "less than or equal to 15"),
        ({"collection": "c", "threshold": -1}, "threshold.perceptual", "greater than or equal to 0"),
        ({"collection": "c", "threshold": 0.9}, "threshold.perceptual", "valid integer"),
        ({"collection": "c", "method": "semantic", "threshold": 0.4}, "threshold.semantic", "0.5"),
        ({"collection": "c", "method": "semantic", "threshold": 1.1}, "threshold.semantic", "less than or equal to 1"),
        ({"collection": "c", "method": "semantic", "threshold": float("nan")}, "threshold.semantic", ""),
        ({"collection": "c", "method": "exact", "threshold": 3}, "threshold", "exact copies"),
        ({"collection": "c", "method": ["perceptual", "semantic"], "threshold": 3}, "threshold", "an object"),
        ({"collection": "c", "threshold": {"semantic": 0.9}}, "threshold", "semantic is not among the methods"),
        ({"collection": "c", "threshold": {"exact": 1}}, "threshold.exact", "Extra"),
        ({"collection": "c", "threshold": True}, "threshold", ""),
        ({"images": URLS, "filter": {"a": 1}}, "filter", "goes with a collection"),
        ({"collection": "c", "recursive": False}, "recursive", "goes with a directory"),
        ({"images": URLS, "extensions": [".png"]}, "extensions", "goes with a directory"),
        ({"collection": "c", "method": "semantic", "model": "m"}, "model", "that of the collection"),
        ({"images": URLS, "model": "m"}, "model", "semantic method alone"),
        ({"directory": "../etc"}, "directory", ".."),
        ({"directory": "/etc"}, "directory", "absolute"),
    ],
    ids=str,
)
def test_what_is_refused_is_named(fields: dict[str, Any], path: str, message: str) -> None:
    ((where, said),) = faults(**fields)
    assert (where, message in said) == (path, True), said


@pytest.mark.parametrize(
    "fields, queue",
    [
        ({"images": URLS * 32}, "embed"),
        ({"images": [*URLS * 32, URLS[0]]}, "clip_batch"),
        ({"collection": "c"}, "clip_batch"),
        ({"directory": "photos"}, "clip_batch"),
    ],
    ids=["64", "65", "collection", "directory"],
)
def test_large_jobs_go_out_of_the_way(fields: dict[str, Any], queue: str) -> None:
    assert DEDUPLICATE.queue_for(read(**fields)) == queue


def test_the_example_is_one() -> None:
    assert read(**DEDUPLICATE.example).collection == "shoes"
