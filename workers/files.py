"""The stored pictures of tenants, as workers read them."""

from collections.abc import Collection

from shared.database.pool import Pool, retry_once
from shared.errors import ErrorCode, PermanentJobError
from shared.storage import FileMissing, Storage

File = tuple[str, str]
"""(tenant, file id)."""
MAX_FOUND = 10_000
"""Files found and not read (their jobs were stopped) that are remembered at most."""

_FIND = """
SELECT files.tenant, files.id, storage_key FROM unnest(%s::text[], %s::text[]) AS asked(tenant, id)
JOIN files ON files.id = asked.id AND files.tenant = asked.tenant
"""


class StoredFiles:
    """Files by tenant and id. Thread-safe."""

    def __init__(self, pool: Pool, storage: Storage) -> None:
        self._pool = pool
        self._storage = storage
        self._found: dict[File, str] = {}

    def find(self, files: Collection[File]) -> None:
        """Look up files that are about to be read, in one statement: a statement each costs more than their decoding,
        and a dozen threads would wait for a handful of connections.

        Raises:
            psycopg.OperationalError: Postgres is away.
        """
        if len(self._found) > MAX_FOUND:
            self._found.clear()
        tenants, ids = [tenant for tenant, _ in files], [file_id for _, file_id in files]
        rows = retry_once(self._pool, lambda connection: connection.execute(_FIND, (tenants, ids)).fetchall())
        self._found.update(((tenant, file_id), key) for tenant, file_id, key in rows)

    def read(self, tenant: str, file_id: str) -> bytes:
        """A stored picture's bytes. Raises PermanentJobError `image_unreachable` when it is gone."""
        file = (tenant, file_id)
        if file not in self._found:
            self.find([file])
        key = self._found.pop(file, None)
        try:
            if key is not None:
                return self._storage.read(key)
        except FileMissing:
            pass
        raise PermanentJobError(
            ErrorCode.IMAGE_UNREACHABLE, f"The file {file_id} does not exist any more; send the picture again."
        )

    def sha256_of(self, tenant: str, file_ids: Collection[str]) -> dict[str, str]:
        """The content hashes (hex) of the files that exist, by id."""
        rows = retry_once(
            self._pool,
            lambda connection: connection.execute(
                "SELECT id, sha256 FROM files WHERE tenant = %s AND id = ANY(%s)", (tenant, list(file_ids))
            ).fetchall(),
        )
        return {file_id: sha256.hex() for file_id, sha256 in rows}
