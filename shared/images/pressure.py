"""A bound on how many pixels one process decodes at the same time."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class PixelBudget:
    """Lets threads decode at once while their pixels together stay within `capacity`; one larger picture goes alone.

    A pixel takes up to about 16 bytes while it is decoded (RGBA, its copy over white, RGB, the decoder's own).
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._held = 0
        self._freed = threading.Condition()

    @contextmanager
    def hold(self, pixels: int) -> Iterator[None]:
        """Wait until there is room for so many pixels, and keep it until the end of the block."""
        with self._freed:
            self._freed.wait_for(lambda: self._held == 0 or self._held + pixels <= self._capacity)
            self._held += pixels
        try:
            yield
        finally:
            with self._freed:
                self._held -= pixels
                self._freed.notify_all()
