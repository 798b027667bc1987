"""Work that would keep the event loop from everybody else is done in threads, a few at a time."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

LARGE_BODY_BYTES = 256_000
"""Below it, all work on a body takes less time (milliseconds) than it is worth to hand it over."""
LANES = 2
"""Large bodies at once: threads share one interpreter, so more of them would only make each slower."""


class Aside:
    """Runs what a request's body costs: at once for a small one, in a thread for a large one."""

    def __init__(self, lanes: int = LANES) -> None:
        self._lanes = asyncio.Semaphore(lanes)

    async def run(self, size: int, work: Callable[[], T]) -> T:
        """The outcome of `work` on a body of `size` bytes. Raises what it raises."""
        if size <= LARGE_BODY_BYTES:
            return work()
        async with self._lanes:
            return await asyncio.to_thread(work)
