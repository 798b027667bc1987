"""Leaving a server alone for a while after it did not answer, so that not everybody waits for it."""

import threading
import time
from collections.abc import Callable

PAUSE_SECONDS = 2.0


class Breaker:
    """Closed: ask. Open, after a failure: do not, but for one caller a pause who finds out whether it is back.

    Thread-safe. A whole outage costs one timeout a pause, and those of the callers who were asking as it began.
    """

    def __init__(self, pause_seconds: float = PAUSE_SECONDS, clock: Callable[[], float] = time.monotonic) -> None:
        self._pause = pause_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._again_at: float | None = None

    def permits(self) -> bool:
        """Whether this caller may ask; who may has to say how it went."""
        with self._lock:
            if self._again_at is None:
                return True
            now = self._clock()
            if now < self._again_at:
                return False
            self._again_at = now + self._pause  # this caller tries; the others go on without
            return True

    def succeeded(self) -> bool:
        """It answered. Returns whether that is news."""
        with self._lock:
            news, self._again_at = self._again_at is not None, None
        return news

    def failed(self) -> bool:
        """It did not answer. Returns whether that is news."""
        with self._lock:
            news, self._again_at = self._again_at is None, self._clock() + self._pause
        return news
