"""A collection of items with known vectors, texts and payloads, and searches of it."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.contracts.search import SearchInput, SearchOutput, SearchResult
from shared.errors import JobError
from shared.vectors.protocol import Point
from tests.fakes.services import SPEC, Room
from workers.handlers.search import handle

DIMENSION = 16
ITEMS = 300
NAME = "things"


def stocked(count: int = ITEMS, **changes: Any) -> Room:
    """`item-000`… with random vectors (the same each time), a payload to filter by, and a text with a number."""
    room = Room()
    assert SPEC.alias == room.model.spec.alias
    row = room.collections.ensure("t", NAME, model=SPEC.alias, dimension=DIMENSION)
    for key, value in changes.items():
        object.__setattr__(row, key, value)
    points = [
        Point(
            f"item-{index:03}",
            vector,
            {"n": index, "even": index % 2 == 0, "size": {"eu": index % 10}},
            f"SKU-{1000 + index} thing",
        )
        for index, vector in enumerate(vectors(count))
    ]
    room.vectors.upsert(row.ref, points)
    return room


def vectors(count: int = ITEMS) -> NDArray[np.float32]:
    """(count, 16), unit length."""
    rows = np.random.default_rng(7).normal(size=(count, DIMENSION))
    unit: NDArray[np.float32] = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return unit


def ask(room: Room, **input: Any) -> SearchOutput | JobError:
    parsed = SearchInput.model_validate({"collection": NAME, **input})
    (output,) = handle([parsed], room.context(room.job()))
    assert isinstance(output, SearchOutput | JobError)
    return output


def found(room: Room, **input: Any) -> list[SearchResult]:
    output = ask(room, **input)
    assert isinstance(output, SearchOutput), output
    return output.results


def ids(room: Room, **input: Any) -> list[str]:
    return [result.id for result in found(room, **input)]


def refused(room: Room, **input: Any) -> JobError:
    output = ask(room, **input)
    assert isinstance(output, JobError), output
    return output
