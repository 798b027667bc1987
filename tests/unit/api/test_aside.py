"""Small work is done at once; large work leaves the event loop to others, a few pieces at a time."""

import asyncio
import threading
import time

from api.intake.aside import LANES, LARGE_BODY_BYTES, Aside


async def test_small_work_stays_on_the_loop() -> None:
    assert await Aside().run(LARGE_BODY_BYTES, threading.get_ident) == threading.get_ident()


async def test_large_work_leaves_the_loop() -> None:
    assert await Aside().run(LARGE_BODY_BYTES + 1, threading.get_ident) != threading.get_ident()


async def test_only_so_many_at_once() -> None:
    running, most, lock = 0, 0, threading.Lock()

    def work() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.02)
        with lock:
            running -= 1

    aside = Aside()
    await asyncio.gather(*(aside.run(LARGE_BODY_BYTES + 1, work) for _ in range(4 * LANES)))
    assert most == LANES
