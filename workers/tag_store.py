"""The tenants' tagged pictures, as handlers write them."""

from collections.abc import Collection, Sequence
from typing import Protocol

from shared import tagging as rows
from shared.database.pool import Pool, retry_once
from shared.tagging import KnownFile, SameFile, TaggedFile, Tagging


class TagStore(Protocol):
    """What `shared.tagging` says of these holds of every store."""

    def known(self, tenant: str, paths: Collection[str]) -> dict[str, KnownFile]:
        """Those of the pictures that have been tagged before, by path."""

    def save(self, files: Sequence[TaggedFile], tagging: Tagging, *, model: str, recipe: str) -> None:
        """Store tags, each over what an earlier job or nobody found. Raises LeaseLost."""

    def confirm(self, files: Sequence[SameFile], tagging: Tagging, *, recipe: str) -> set[str]:
        """Say that the tags of these files stand; answers those that are still of this recipe. Raises LeaseLost."""


class PooledTags:
    """Tagged pictures in Postgres, a connection of the pool at a time."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def known(self, tenant: str, paths: Collection[str]) -> dict[str, KnownFile]:
        return retry_once(self._pool, lambda connection: rows.known(connection, tenant, paths))

    def save(self, files: Sequence[TaggedFile], tagging: Tagging, *, model: str, recipe: str) -> None:
        retry_once(self._pool, lambda connection: rows.save(connection, files, tagging, model=model, recipe=recipe))

    def confirm(self, files: Sequence[SameFile], tagging: Tagging, *, recipe: str) -> set[str]:
        return retry_once(self._pool, lambda connection: rows.confirm(connection, files, tagging, recipe=recipe))
