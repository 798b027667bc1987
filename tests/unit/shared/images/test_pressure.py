import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from shared.images.pressure import PixelBudget


def test_held_pixels_stay_within_the_capacity() -> None:
    budget, lock, now, most = PixelBudget(100), threading.Lock(), 0, 0

    def work(pixels: int) -> None:
        nonlocal now, most
        with budget.hold(pixels):
            with lock:
                now += pixels
                most = max(most, now)
            threading.Event().wait(0.001)
            with lock:
                now -= pixels

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, [30, 50, 70, 100] * 8))
    assert 70 <= most <= 100


def test_a_larger_picture_goes_alone_and_an_error_gives_its_room_back() -> None:
    budget = PixelBudget(100)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), budget.hold(500):
            raise ZeroDivisionError
