"""What a figure is measured with: the stack, how thorough to be, and a progress bar."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.progress import Progress

from bench.stack import Stack

CORES = os.cpu_count() or 1


@dataclass(frozen=True)
class Lab:
    stack: Stack
    progress: Progress
    quick: bool = False

    def pick(self, whole: int, quick: int) -> int:
        """A size, by how thorough this run is."""
        return quick if self.quick else whole

    @property
    def rounds(self) -> int:
        return self.pick(5, 2)

    @contextmanager
    def track(self, what: str, total: int) -> Iterator[Callable[[], None]]:
        """A progress bar; call what it gives after each of `total` steps."""
        task = self.progress.add_task(what, total=total)
        try:
            yield lambda: self.progress.advance(task)
        finally:
            self.progress.remove_task(task)
