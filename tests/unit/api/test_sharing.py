"""Lookups that requests share."""

import asyncio
from collections.abc import Sequence

import pytest

from api.intake.sharing import SharedLookup


class Source:
    """Values that grow with every lookup; each waits until it is let go."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.began, self.gate = asyncio.Event(), asyncio.Event()
        self.error: Exception | None = None

    async def look(self, keys: Sequence[str]) -> dict[str, int]:
        self.asked.append(list(keys))
        self.began.set()
        number = len(self.asked)
        await self.gate.wait()
        if self.error:
            raise self.error
        return {key: number for key in keys if key != "nothing"}


async def test_who_comes_while_one_is_under_way_shares_the_next() -> None:
    source = Source()
    shared = SharedLookup(source.look, most=10)
    first = asyncio.create_task(shared.get("a"))
    await source.began.wait()
    others = [asyncio.create_task(shared.get(key)) for key in ("a", "b", "a", "nothing")]
    await asyncio.sleep(0)
    source.gate.set()
    assert await first == 1
    assert await asyncio.gather(*others) == [2, 2, 2, None]
    assert source.asked == [["a"], ["a", "b", "nothing"]], "what began before a request is too old for it"
    assert await shared.get("c") == 3


async def test_many_keys_are_several_lookups() -> None:
    source = Source()
    source.gate.set()
    shared = SharedLookup(source.look, most=2)
    assert await shared.get_many(["a", "b", "c", "d", "e"]) == [1, 1, 2, 2, 3]
    assert await shared.get_many([]) == []


async def test_an_error_is_everybodys_and_then_over() -> None:
    source = Source()
    source.gate.set()
    source.error = ValueError("away")
    shared = SharedLookup(source.look, most=10)
    errors = await asyncio.gather(shared.get("a"), shared.get("a"), shared.get("b"), return_exceptions=True)
    assert [str(error) for error in errors] == ["away"] * 3
    source.error = None
    assert await shared.get("a") == 2


async def test_one_who_gives_up_costs_the_others_nothing() -> None:
    source = Source()
    shared = SharedLookup(source.look, most=10)
    impatient, patient = (asyncio.create_task(shared.get("a")) for _ in range(2))
    await source.began.wait()
    impatient.cancel()
    with pytest.raises(asyncio.CancelledError):
        await impatient
    source.gate.set()
    assert await patient == 1
