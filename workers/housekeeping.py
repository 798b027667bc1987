"""The slow half of the sweeper, in threads of its own so that no rescue waits for it.

Deletes what has expired, erases pictures that no job holds, and gives large collections their vector index. A build may
take minutes, so it keeps nothing else waiting.
"""

import threading
import uuid
from collections.abc import Callable

import structlog

from shared import collections
from shared.database.pool import Pool
from shared.errors import DarkroomError
from shared.files import erase_unused_files
from shared.jobs import sweeping
from shared.settings import SweeperSettings
from shared.storage import Storage
from shared.storage.keys import job_prefix
from shared.vectors.protocol import VectorStore

log = structlog.get_logger(__name__)

COLLECTIONS_PAGE = 100


class Housekeeper:
    """Goes round once every `housekeeping_seconds` until `stop` is set. Any number may run beside each other."""

    def __init__(
        self, pool: Pool, storage: Storage, vectors: VectorStore, settings: SweeperSettings, stop: threading.Event
    ) -> None:
        self._pool = pool
        self._storage = storage
        self._vectors = vectors
        self._settings = settings
        self._stop = stop

    def start(self) -> None:
        self._go_round("housekeeping", self.expire, self.erase_files)
        self._go_round("optimizing", self.optimize_collections)

    def _go_round(self, name: str, *chores: Callable[[], object]) -> None:
        threading.Thread(target=self._run, args=(chores,), name=name, daemon=True).start()

    def _run(self, chores: tuple[Callable[[], object], ...]) -> None:
        while not self._stop.wait(self._settings.housekeeping_seconds):
            for chore in chores:
                try:
                    chore()
                except Exception as error:  # noqa: BLE001 - one chore that fails must not keep the others from running
                    name = getattr(chore, "__name__", str(chore))
                    log.warning("housekeeping_failed", chore=name, error=str(error).strip())

    def expire(self) -> int:
        """Delete finished jobs past their time, with whatever their attempts stored. Returns how many."""
        deleted = 0
        while not self._stop.is_set():
            count = self._expire_page()
            deleted += count
            if count < self._settings.sweep_page:
                break
        return deleted

    def _expire_page(self) -> int:
        """Files first: a page that is interrupted keeps its rows, and the next round takes it up again."""
        with self._pool.connection() as connection, connection.transaction():
            jobs = sweeping.expired(connection, page=self._settings.sweep_page)
            for job in jobs:
                if job.may_have_files:
                    self._storage.delete_prefix(job_prefix(job.tenant, str(job.id)))
            if jobs:
                sweeping.delete(connection, [job.id for job in jobs])
        return len(jobs)

    def erase_files(self) -> int:
        """Erase stored pictures that nobody holds or brings any more. Returns how many."""
        with self._pool.connection() as connection:
            return erase_unused_files(connection, self._storage, page=self._settings.sweep_page)

    def optimize_collections(self) -> int:
        """Index the vectors of collections that have become large. Returns how many were indexed."""
        built, after = 0, None
        while page := self._page(after):
            for row in page:
                if self._stop.is_set():
                    return built
                try:
                    built += self._vectors.optimize(row.ref)
                except DarkroomError as error:
                    log.warning("collection_not_optimized", collection=str(row.id), error=str(error))
            after = page[-1].id
        return built

    def _page(self, after: uuid.UUID | None) -> list[collections.CollectionRow]:
        with self._pool.connection() as connection:
            return collections.page(connection, after, COLLECTIONS_PAGE)
