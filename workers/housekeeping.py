"""The slow half of the sweeper, in threads of its own so that no rescue waits for it.

Deletes what has expired, erases pictures that neither a job nor an item holds, gives large collections their vector
index (a build may take minutes, and keeps nothing else waiting), removes vectors that others have replaced and
collections whose deletion was broken off, and forgets deletes that nothing can undo any more.
"""

import threading
import uuid
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TypeVar

import structlog

from shared import collections, item_files, rebuilding
from shared.collections import CollectionRow
from shared.database.pool import Pool
from shared.errors import DarkroomError
from shared.files import erase_unused_files
from shared.jobs import sweeping
from shared.settings import SweeperSettings
from shared.storage import Storage
from shared.storage.keys import job_prefix
from shared.vectors.protocol import CollectionRef, VectorStore

T = TypeVar("T")
log = structlog.get_logger(__name__)

COLLECTIONS_PAGE = 100
FORGET_SECONDS = 3_600.0
"""How often delete marks and noted files are looked through: it reads every job and item, and they do no harm."""
ABANDONED_SECONDS = 3_600.0
"""A deleted collection that no job is at for so long is removed here."""
TRY_AGAIN_SECONDS = 600.0
"""After vectors could not be removed."""


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
        self._no_write_before = 0

    def start(self) -> None:
        every = self._settings.housekeeping_seconds
        self._go_round("housekeeping", every, self.expire, self.erase_files)
        self._go_round("optimizing", every, self.optimize_collections)
        self._go_round("removing", every, self.remove_discarded, self.finish_deletes)
        self._go_round("forgetting", max(every, FORGET_SECONDS), self.forget_deleted, self.release_files)

    def _go_round(self, name: str, every: float, *chores: Callable[[], object]) -> None:
        threading.Thread(target=self._run, args=(every, chores), name=name, daemon=True).start()

    def _run(self, every: float, chores: tuple[Callable[[], object], ...]) -> None:
        while not self._stop.wait(every):
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
        return sum(self._each_collection("collection_not_optimized", lambda row: self._vectors.optimize(row.ref)))

    def remove_discarded(self) -> int:
        """Remove vectors that were replaced, or never put in place, once their time has come. Returns how many."""
        removed = 0
        while not self._stop.is_set():
            vectors = None
            try:
                with self._pool.connection() as connection, rebuilding.next_removal(connection) as vectors:
                    if vectors is None:
                        rebuilding.forget_removed(connection)
                        break
                    self._vectors.drop_collection(vectors)
                removed += 1
            except DarkroomError as error:
                if vectors is None:
                    raise
                log.warning("vectors_not_removed", vectors=str(vectors.id), error=str(error))
                with self._pool.connection() as connection:
                    rebuilding.set_removal(connection, vectors, in_seconds=TRY_AGAIN_SECONDS)
        return removed

    def finish_deletes(self) -> int:
        """Remove collections that were deleted, and whose job has failed or was deleted itself. Returns how many."""
        with self._pool.connection() as connection:
            rows = collections.abandoned(connection, after_seconds=ABANDONED_SECONDS, limit=COLLECTIONS_PAGE)
        return sum(self._each_of(rows, "collection_not_removed", self._finish_delete))

    def _finish_delete(self, row: CollectionRow) -> int:
        self._vectors.drop_collection(row.ref)
        with self._pool.connection() as connection:
            while collections.forget_files(connection, row.id):
                pass
            collections.delete(connection, row.id)
        return 1

    def release_files(self) -> int:
        """Let go of stored pictures that no item is made from any more. Returns how many."""
        return sum(self._each_collection("files_not_released", self._release_files_of))

    def _release_files_of(self, row: CollectionRow) -> int:
        def files_of(vectors: CollectionRef, ids: Collection[str]) -> dict[str, str]:
            items = self._vectors.get(vectors, ids)
            return {id: item.image["file"] for id, item in items.items() if item.image and "file" in item.image}

        dropped, after = 0, None
        while not self._stop.is_set():
            with self._pool.connection() as connection:
                page = self._settings.sweep_page
                looked = item_files.drop_stale(connection, row.id, files_of, after=after, page=page)
            dropped, after = dropped + looked.dropped, looked.last
            if after is None:
                break
        return dropped

    def forget_deleted(self) -> None:
        """Drop the marks of deletes that no job submitted before them can undo any more.

        A job takes its place in the order before others see it. So what the last round found counts too: whatever was
        being accepted then is there by now.
        """
        with self._pool.connection() as connection:
            found = sweeping.first_write_to_come(connection)
        certain, self._no_write_before = min(found, self._no_write_before), found

        def forget(row: CollectionRow) -> None:
            self._vectors.forget_deleted(row.ref, before_version=certain)

        list(self._each_collection("marks_not_forgotten", forget))

    def _each_collection(self, failed: str, work: Callable[[CollectionRow], T]) -> Iterator[T]:
        """What `work` answers for each collection there is."""
        after = None
        while not self._stop.is_set() and (page := self._page(after)):
            yield from self._each_of(page, failed, work)
            after = page[-1].id

    def _each_of(self, rows: Sequence[CollectionRow], failed: str, work: Callable[[CollectionRow], T]) -> Iterator[T]:
        """What `work` answers for each of these. One that fails is logged, and the others go on."""
        for row in rows:
            if self._stop.is_set():
                return
            try:
                yield work(row)
            except DarkroomError as error:
                log.warning(failed, collection=str(row.id), error=str(error))

    def _page(self, after: uuid.UUID | None) -> list[CollectionRow]:
        with self._pool.connection() as connection:
            return collections.page(connection, after, COLLECTIONS_PAGE)
