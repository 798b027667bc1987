"""One claimed batch on its way: which of its jobs are still open, and which ends are known but not yet written."""

import time
from collections.abc import Callable, Sequence

from workers.context import JobHandle, Result
from workers.outcomes import stop_or

SETTLE_SECONDS = 0.2
"""Ends that come one by one are written together, at most this late while others are still running."""

Write = Callable[[list[tuple[JobHandle, Result]]], object]


class Batch:
    """Collects results and writes them in groups, so that a quick job does not wait for a slow one beside it.

    Args:
        write: writes the ends of some jobs; called by the thread that runs the batch.
    """

    def __init__(self, handles: Sequence[JobHandle], write: Write) -> None:
        self.handles = handles
        self._write = write
        self._open = {handle.id for handle in handles}
        self._known: list[tuple[JobHandle, Result]] = []
        self.started_at = self._written_at = time.monotonic()

    def is_open(self, handle: JobHandle) -> bool:
        return handle.id in self._open

    def settle(self, handle: JobHandle, result: Result) -> None:
        """A job's result; a second one for the same job is ignored."""
        if handle.id not in self._open:
            return
        self._open.remove(handle.id)
        self._known.append((handle, stop_or(result, handle)))
        if self._open and time.monotonic() - self._written_at > SETTLE_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write what is known."""
        if known := self.take():
            self._write(known)
        self._written_at = time.monotonic()

    def take(self) -> list[tuple[JobHandle, Result]]:
        """What is known and not written; the caller writes it."""
        known, self._known = self._known, []
        return known
