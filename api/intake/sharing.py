"""One lookup for many requests: those that come while one is under way share the next."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from itertools import islice
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

Future = asyncio.Future[V | None]


class SharedLookup(Generic[K, V]):
    """Looks keys up, many at a time. A lookup begins after all who share it have asked, so it is never older than a
    request; it costs a busy process one round trip where it would have cost dozens.
    """

    def __init__(self, look: Callable[[Sequence[K]], Awaitable[Mapping[K, V]]], *, most: int) -> None:
        """`look`: the values of those keys that have one. `most`: keys that one lookup asks for."""
        self._look = look
        self._most = most
        self._waiting: dict[K, list[Future[V]]] = {}
        self._task: asyncio.Task[None] | None = None

    async def get(self, key: K) -> V | None:
        """Raises what the lookup raised."""
        future: Future[V] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(key, []).append(future)
        if self._task is None:
            self._task = asyncio.create_task(self._run())
        return await future

    async def get_many(self, keys: Sequence[K]) -> list[V | None]:
        """In the order of the keys."""
        if len(keys) == 1:
            return [await self.get(keys[0])]
        return list(await asyncio.gather(*(self.get(key) for key in keys)))

    async def _run(self) -> None:
        try:
            while self._waiting:
                taken = {key: self._waiting.pop(key) for key in list(islice(self._waiting, self._most))}
                await self._answer(taken)
        finally:
            self._task = None

    async def _answer(self, waiting: Mapping[K, list[Future[V]]]) -> None:
        try:
            found = await self._look(list(waiting))
        except BaseException as error:
            for future in _open(waiting):
                future.set_exception(error)
            if not isinstance(error, Exception):  # canceled: the process is about to end
                raise
        else:
            for key, futures in waiting.items():
                for future in _open({key: futures}):
                    future.set_result(found.get(key))


def _open(waiting: Mapping[K, list[Future[V]]]) -> list[Future[V]]:
    """Those whose request is still there."""
    return [future for futures in waiting.values() for future in futures if not future.done()]
