"""What of a payload is shown, and how far a result is said to be."""

import math

import pytest

from workers.handlers.searching.results import chosen, distance

PAYLOAD = {"price": 3, "size": {"eu": 42, "us": {"men": 9, "women": 10}}, "tags": [{"a": 1}], "none": None, "empty": {}}


@pytest.mark.parametrize(
    ("paths", "found"),
    [
        (["price"], {"price": 3}),
        (["size.eu"], {"size": {"eu": 42}}),
        (["size.us.men", "size.us.women"], {"size": {"us": {"men": 9, "women": 10}}}),
        (["size", "size.eu"], {"size": PAYLOAD["size"]}),
        (["size.eu", "size"], {"size": PAYLOAD["size"]}),
        (["none", "empty"], {"none": None, "empty": {}}),
        (["missing", "size.missing", "price.deeper", "tags.a", "empty.x", "none.x"], {}),
    ],
)
def test_chosen_fields_keep_the_objects_that_hold_them(paths: list[str], found: dict[str, object]) -> None:
    before = repr(PAYLOAD)
    assert chosen(PAYLOAD, paths) == found
    assert repr(PAYLOAD) == before


@pytest.mark.parametrize("cosine", [1.0, 1.0000001, 0.25, 0.0, -1.0])
def test_distances_are_those_between_unit_vectors(cosine: float) -> None:
    angle = math.acos(max(-1.0, min(1.0, cosine)))
    apart = math.dist((1.0, 0.0), (math.cos(angle), math.sin(angle)))
    assert distance(cosine, "euclidean") == pytest.approx(apart, abs=1e-6)
    assert distance(cosine, "cosine") == 1 - cosine
    assert distance(cosine, "dot") == -cosine
