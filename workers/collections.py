"""The tenants' collections, as handlers reach them."""

import uuid
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from shared import collections, item_files, rebuilding
from shared.collections import CollectionRow
from shared.database.pool import Pool, retry_once
from shared.vectors.fencing import postgres_reachable
from shared.vectors.protocol import CollectionRef, Fence


class LockedCollection(Protocol):
    """A collection that nobody writes to as long as it is locked."""

    @property
    def row(self) -> CollectionRow: ...

    def replace_vectors(self, vectors: CollectionRef, model: str) -> None:
        """Put these vectors, made by `model`, in the place of the collection's own, when the lock goes."""


class Collections(Protocol):
    """The `collections` table and what goes with it."""

    def find(self, tenant: str, name: str) -> CollectionRow | None:
        """The tenant's collection of that name."""

    def get(self, collection_id: uuid.UUID) -> CollectionRow | None:
        """A collection as it is now; None once it was deleted."""

    def ensure(self, tenant: str, name: str, *, model: str, dimension: int) -> CollectionRow:
        """The tenant's collection of that name, made with this model when it is not there yet."""

    def keep_files(self, collection_id: uuid.UUID, files: Mapping[str, str]) -> None:
        """Keep stored pictures (file by item) as long as these items are made from them; before they are written."""

    def deleted(self, collection_id: uuid.UUID) -> CollectionRow | None:
        """A collection that was deleted, once all writes that began before have ended; None when nothing is left."""

    def forget_files(self, collection_id: uuid.UUID) -> bool:
        """Let go of some of the stored pictures of a deleted collection. False: there are no more."""

    def erase(self, collection_id: uuid.UUID) -> None:
        """Delete the row of a collection that has nothing left."""

    def remove_later(self, vectors: CollectionRef, *, in_seconds: float) -> None:
        """Have vectors that are no collection's removed, after so long from now on."""

    def locked(self, collection_id: uuid.UUID, fence: Fence) -> AbstractContextManager[LockedCollection]:
        """Wait for those who write to the collection, and keep others waiting while the block runs.

        Raises:
            LeaseLost: the attempt no longer owns its job.
            PermanentJobError: the collection was deleted (`collection_unknown`).
        """


class PooledCollections:
    """Collections in Postgres, a connection of the pool at a time."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def find(self, tenant: str, name: str) -> CollectionRow | None:
        return retry_once(self._pool, lambda connection: collections.find(connection, tenant, name))

    def get(self, collection_id: uuid.UUID) -> CollectionRow | None:
        return retry_once(self._pool, lambda connection: collections.get(connection, collection_id))

    def ensure(self, tenant: str, name: str, *, model: str, dimension: int) -> CollectionRow:
        return retry_once(
            self._pool,
            lambda connection: collections.ensure(connection, tenant, name, model=model, dimension=dimension),
        )

    def keep_files(self, collection_id: uuid.UUID, files: Mapping[str, str]) -> None:
        if files:
            retry_once(self._pool, lambda connection: item_files.keep(connection, collection_id, files))

    def deleted(self, collection_id: uuid.UUID) -> CollectionRow | None:
        retry_once(self._pool, lambda connection: collections.await_writers(connection, collection_id))
        return retry_once(self._pool, lambda connection: collections.deleted(connection, collection_id))

    def forget_files(self, collection_id: uuid.UUID) -> bool:
        return retry_once(self._pool, lambda connection: collections.forget_files(connection, collection_id))

    def erase(self, collection_id: uuid.UUID) -> None:
        retry_once(self._pool, lambda connection: collections.delete(connection, collection_id))

    def remove_later(self, vectors: CollectionRef, *, in_seconds: float) -> None:
        retry_once(self._pool, lambda connection: rebuilding.set_removal(connection, vectors, in_seconds=in_seconds))

    @contextmanager
    def locked(self, collection_id: uuid.UUID, fence: Fence) -> Iterator[LockedCollection]:
        with (
            postgres_reachable(),
            self._pool.connection() as connection,
            rebuilding.locked(connection, collection_id, fence) as found,
        ):
            yield found
