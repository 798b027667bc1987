"""Pictures for indexing differ in their bytes, and decode to the same pixels."""

from bench.pictures import catalogue_pictures
from shared.images.decode import DecodeLimits, decode


def test_marked_pictures_are_distinct_and_sound() -> None:
    plain, marked = catalogue_pictures(3), catalogue_pictures(3, mark=1)
    assert len({*plain, *marked}) == 6
    for one, other in zip(plain, marked, strict=True):
        assert decode(one, DecodeLimits()).tobytes() == decode(other, DecodeLimits()).tobytes()


def test_more_than_there_are_is_still_distinct() -> None:
    assert len(set(catalogue_pictures(1_500))) == 1_500
