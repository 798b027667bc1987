"""However a search and writes fall together: what is found under a version has every write up to it."""

from collections.abc import Callable, Iterator, Sequence
from itertools import combinations_with_replacement, product
from typing import Any

import numpy as np
import orjson
import pytest

from shared.cache.results import Searched, result_key
from shared.collections import CollectionRow
from shared.contracts.search import SearchInput, SearchOutput
from shared.errors import DependencyUnavailable
from shared.loaded_models import entry_of
from shared.vectors.protocol import Point
from tests.fakes.cache import MemoryCache
from tests.fakes.models import FakeEmbedder
from tests.fakes.services import SPEC, MemoryCollections, Room
from tests.fakes.vectors import MemoryVectorStore
from workers.handlers.search import handle

SLOTS = range(5)
"""Before the search reads the collection's row, before and after it searches, before and after it keeps its result."""
INPUT = SearchInput.model_validate({"collection": "c", "text": "red"})


class Script:
    """What others do at each slot of one search."""

    def __init__(self) -> None:
        self.steps: dict[int, list[Callable[[], None]]] = {slot: [] for slot in SLOTS}

    def reach(self, slot: int) -> None:
        for step in self.steps.pop(slot, []):
            step()


class Collections(MemoryCollections):
    script: Script

    def find(self, tenant: str, name: str) -> CollectionRow | None:
        self.script.reach(0)
        return super().find(tenant, name)


class Vectors(MemoryVectorStore):
    script: Script

    def search(self, *args: Any, **options: Any) -> Any:
        self.script.reach(1)
        found = super().search(*args, **options)
        self.script.reach(2)
        return found


class Kept(MemoryCache):
    script: Script

    def put_many(self, entries: Any) -> None:
        if any(":result:" in key for key in entries):
            self.script.reach(3)
        super().put_many(entries)


class Stage:
    """A room with one collection, whose searches follow a script."""

    def __init__(self) -> None:
        self.script = Script()
        self.collections, self.vectors, self.cache = Collections(), Vectors(), Kept()
        for part in (self.collections, self.vectors, self.cache):
            part.script = self.script
        self.room = Room(model=FakeEmbedder(SPEC), collections=self.collections, vectors=self.vectors, cache=self.cache)
        row = self.collections.ensure("t", "c", model="fake", dimension=16)
        self.vectors.create_collection(row.ref)
        self.ref = row.ref
        self.put("first")

    def put(self, id: str) -> None:
        vector = self.room.model.encode_texts(["red"])[0]
        self.vectors.upsert(self.ref, [Point(id=id, vector=vector, payload={"id": id})])

    def write_only(self, id: str) -> None:
        """As a store does that writes before the version moves."""
        move, self.vectors.move_version = self.vectors.move_version, lambda _: None
        self.put(id)
        self.vectors.move_version = move

    def move(self) -> None:
        self.vectors.move_version(self.ref)

    def search(self) -> SearchOutput:
        (output,) = handle([INPUT], self.room.context(self.room.job()))
        assert isinstance(output, SearchOutput)
        self.script.reach(4)
        return output

    def found_now(self) -> set[str] | None:
        """What the API would answer at this moment, None where it would ask a worker."""
        row = MemoryCollections.find(self.collections, "t", "c")
        assert row is not None
        weights = self.room.embedders.weights("fake")
        searched = Searched("t", row.id, row.vectors_id, row.version, entry_of(SPEC), weights)
        key = result_key(searched, INPUT)
        content = self.cache.entries.get(key or "")
        return None if content is None else {result["id"] for result in orjson.loads(content)["results"]}


def test_a_result_is_kept() -> None:
    stage = Stage()
    assert stage.found_now() is None
    stage.search()
    assert stage.found_now() == {"first"}


@pytest.mark.parametrize("slots", list(product(SLOTS, SLOTS)), ids=str)
def test_writes_that_move_the_version_with_them(slots: tuple[int, int]) -> None:
    stage, there = Stage(), {"first"}

    def write(id: str) -> None:
        stage.put(id)
        there.add(id)
        check()

    def check() -> None:
        found = stage.found_now()
        assert found is None or found == there

    for id, slot in zip(("second", "third"), slots, strict=True):
        stage.script.steps[slot].append(lambda id=id: write(id))  # type: ignore[misc]
    stage.search()
    check()
    stage.search()
    assert stage.found_now() == there


def split_writes() -> Iterator[tuple[Sequence[int], Sequence[int]]]:
    """Slots of (write, move of the version) for two writers."""
    return product(combinations_with_replacement(SLOTS, 2), repeat=2)


@pytest.mark.parametrize("slots", list(split_writes()), ids=str)
def test_writes_whose_version_moves_later(slots: tuple[Sequence[int], Sequence[int]]) -> None:
    """Between the two nobody has been told of the write; once the version has moved, it must be found."""
    stage, told = Stage(), {"first"}

    def tell(id: str) -> None:
        stage.move()
        told.add(id)
        check()

    def check() -> None:
        found = stage.found_now()
        assert found is None or found >= told

    for id, (written, moved) in zip(("second", "third"), slots, strict=True):
        stage.script.steps[written].append(lambda id=id: stage.write_only(id))  # type: ignore[misc]
        stage.script.steps[moved].append(lambda id=id: tell(id))  # type: ignore[misc]
    stage.search()
    check()
    stage.search()
    assert stage.found_now() == told


def test_a_write_that_died_before_its_version_moved_is_found_when_it_runs_again() -> None:
    stage = Stage()
    stage.write_only("second")
    stage.search()
    stage.put("second")
    assert stage.found_now() is None
    stage.search()
    assert stage.found_now() == {"first", "second"}


def test_weights_that_change_while_a_search_runs_leave_nothing_behind() -> None:
    for slot in SLOTS[:4]:
        stage = Stage()
        stage.script.steps[slot].append(lambda stage=stage: stage.room.embedders.seen.update(fake="second"))  # type: ignore[misc]
        stage.search()
        assert (stage.found_now() is None) == (slot > 0)


def test_a_search_that_breaks_off_keeps_what_was_answered_before() -> None:
    """And tells it: those who asked are not to wait for the others' second try."""
    stage = Stage()
    settled: list[int] = []

    def away() -> None:
        raise DependencyUnavailable("away")

    def second() -> None:
        stage.script.steps[1] = [away]

    stage.script.steps[1].append(second)
    jobs = [stage.room.job(), stage.room.job()]
    context = stage.room.context(*jobs)
    object.__setattr__(context, "on_settled", lambda handle, _: settled.append(jobs.index(handle)))
    other = SearchInput.model_validate({"collection": "c", "text": "blue"})
    with pytest.raises(DependencyUnavailable):
        handle([INPUT, other], context)
    assert settled == [0]
    assert stage.found_now() == {"first"}


def test_a_model_that_is_not_there_any_more_costs_only_the_cache() -> None:
    stage = Stage()
    row = stage.collections.ensure("t", "old", model="gone", dimension=16)
    stage.vectors.create_collection(row.ref)
    input = SearchInput.model_validate({"collection": "old", "vector": np.eye(16)[0].tolist()})
    (output,) = handle([input], stage.room.context(stage.room.job()))
    assert isinstance(output, SearchOutput)
    assert stage.cache.entries == {}
