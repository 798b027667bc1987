"""The stored pictures of tenants, as workers read them."""

from collections.abc import Collection

from shared.database.pool import Pool, retry_once
from shared.errors import ErrorCode, PermanentJobError
from shared.storage import FileMissing, Storage


class StoredFiles:
    """Files by tenant and id."""

    def __init__(self, pool: Pool, storage: Storage) -> None:
        self._pool = pool
        self._storage = storage

    def read(self, tenant: str, file_id: str) -> bytes:
        """A stored picture's bytes. Raises PermanentJobError `image_unreachable` when it is gone."""
        row = retry_once(
            self._pool,
            lambda connection: connection.execute(
                "SELECT storage_key FROM files WHERE tenant = %s AND id = %s", (tenant, file_id)
            ).fetchone(),
        )
        try:
            if row is not None:
                return self._storage.read(row[0])
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
