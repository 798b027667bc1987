"""The loaded models of one worker process: lazy, one copy each, within a budget of bytes."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from shared.errors import ErrorCode, JobError, RetryableJobError
from shared.model_registry import ModelSpec
from workers.runtimes.device import free_memory, is_out_of_memory
from workers.runtimes.protocol import Runtime

R = TypeVar("R", bound=Runtime)
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoadedModel:
    """What `loaded()` tells about one model. `last_used` is on the cache's clock (seconds)."""

    alias: str
    bytes: int
    last_used: float
    load_seconds: float
    in_use: bool


@dataclass
class _Entry(Generic[R]):
    """One model, loading or loaded. `bytes` is an estimate until `ready` is done."""

    spec: ModelSpec
    bytes: int
    last_used: float
    users: int = 0
    ready: "Future[R]" = field(default_factory=Future)

    @property
    def evictable(self) -> bool:
        return self.users == 0 and self.ready.done()


class ModelCache(Generic[R]):
    """Loads models when they are first leased and drops the least recently used to stay within a budget.

    Two threads that ask for the same model at once wait for one load; those that ask for others go on. A model in use
    is never dropped, so the budget may be exceeded while several are; a single model above it is loaded all the same.
    """

    def __init__(
        self,
        load: Callable[[ModelSpec], R],
        budget_bytes: int,
        *,
        failure_seconds: float = 30.0,
        free: Callable[[], None] = free_memory,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Args:
            load: makes a runtime; raises JobError, or an out-of-memory error as torch raised it.
            budget_bytes: for all loaded models together.
            failure_seconds: a failed load is answered from memory for this long, so that a queue full of jobs does
                not try a broken model, or wait for an absent hub (23 s), once a job.
            free: gives memory of dropped models back to the device.
        """
        self._load = load
        self._budget = budget_bytes
        self._failure_seconds = failure_seconds
        self._free = free
        self._clock = clock
        self._lock = threading.Lock()
        self._entries: dict[ModelSpec, _Entry[R]] = {}
        self._failures: dict[ModelSpec, tuple[float, JobError]] = {}

    @contextmanager
    def lease(self, spec: ModelSpec) -> Iterator[R]:
        """The loaded model, kept from eviction until the block ends.

        Raises:
            JobError: `model_load_failed`; `out_of_memory` when it does not fit even with all unused models dropped.
        """
        entry, first = self._enter(spec)
        budget = self._budget
        try:
            if first:
                self._fill(entry)
            yield entry.ready.result()
        except JobError as error:
            if error.code == ErrorCode.OUT_OF_MEMORY:
                budget = 0  # The next attempt finds the memory that the others held.
            raise
        finally:
            with self._lock:
                entry.users -= 1
                entry.last_used = self._clock()
                dropped = self._evict(budget, keep=entry)
            self._give_back(dropped)

    def loaded(self) -> list[LoadedModel]:
        """Every loaded model, least recently used first."""
        with self._lock:
            entries = [entry for entry in self._entries.values() if entry.ready.done()]
        return [
            LoadedModel(entry.spec.alias, entry.bytes, entry.last_used, runtime.load_seconds, entry.users > 0)
            for entry in sorted(entries, key=lambda entry: entry.last_used)
            for runtime in (entry.ready.result(),)
        ]

    def clear(self) -> None:
        """Drop every model that is not in use."""
        with self._lock:
            dropped = self._evict(0)
        self._give_back(dropped)

    def _enter(self, spec: ModelSpec) -> tuple[_Entry[R], bool]:
        """The model's entry with one more user, and whether this caller has to load it."""
        with self._lock:
            self._raise_recent_failure(spec)
            entry = self._entries.get(spec)
            first = entry is None
            if entry is None:
                entry = self._entries[spec] = _Entry(spec, spec.memory_bytes, self._clock())
            entry.users += 1
            return entry, first

    def _fill(self, entry: _Entry[R]) -> None:
        """Load into `entry`; whoever waits for it gets the model or the error."""
        try:
            with self._lock:
                dropped = self._evict(self._budget)
            self._give_back(dropped)
            runtime = self._load_with_room(entry.spec)
        except BaseException as error:
            with self._lock:
                del self._entries[entry.spec]
                if isinstance(error, JobError) and error.code != ErrorCode.OUT_OF_MEMORY:
                    self._failures[entry.spec] = (self._clock(), error)
            entry.ready.set_exception(error)
            raise
        entry.bytes = runtime.bytes
        entry.ready.set_result(runtime)
        _log.info("model loaded: %s, %d bytes, %.1f s", entry.spec.alias, runtime.bytes, runtime.load_seconds)

    def _load_with_room(self, spec: ModelSpec) -> R:
        """Load; out of memory, drop all that is unused and try once more."""
        try:
            return self._load(spec)
        except Exception as error:
            if not _ran_out(error):
                raise
        with self._lock:
            dropped = self._evict(0)
        self._give_back(dropped, always=True)
        try:
            return self._load(spec)
        except Exception as error:
            if not _ran_out(error):
                raise
            raise RetryableJobError(
                ErrorCode.OUT_OF_MEMORY,
                f"Model {spec.alias!r} (about {spec.memory_bytes / 1e6:,.0f} MB) does not fit into memory beside the "
                "models in use. It is tried again; if it stays so, give the worker more memory or choose a smaller "
                "model.",
            ) from error

    def _evict(self, budget: int, keep: _Entry[R] | None = None) -> list[_Entry[R]]:
        """Take unused entries out, oldest use first, until the rest is within `budget`. Call under the lock.

        `keep` stays, or a model above the budget would be loaded anew for every batch.
        """
        total = sum(entry.bytes for entry in self._entries.values())
        dropped: list[_Entry[R]] = []
        for entry in sorted(self._entries.values(), key=lambda entry: entry.last_used):
            if total <= budget:
                break
            if entry.evictable and entry is not keep:
                dropped.append(self._entries.pop(entry.spec))
                total -= entry.bytes
        return dropped

    def _give_back(self, dropped: list[_Entry[R]], *, always: bool = False) -> None:
        """Let go of what `_evict` took out (outside the lock: it takes a moment) and free its memory."""
        if dropped:
            _log.info("models dropped: %s", ", ".join(entry.spec.alias for entry in dropped))
        if dropped or always:
            dropped.clear()
            self._free()

    def _raise_recent_failure(self, spec: ModelSpec) -> None:
        if (failure := self._failures.get(spec)) is None:
            return
        at, error = failure
        if self._clock() - at < self._failure_seconds:
            raise error.with_traceback(None)
        del self._failures[spec]


def _ran_out(error: Exception) -> bool:
    return is_out_of_memory(error) or getattr(error, "code", None) == ErrorCode.OUT_OF_MEMORY
