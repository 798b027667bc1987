"""Which vector store a process uses, by its settings."""

from shared.database.pool import Pool
from shared.settings import Settings
from shared.vectors.pgvector import PgVectorStore
from shared.vectors.protocol import VectorStore


def open_vectors(settings: Settings, pool: Pool) -> VectorStore:
    """Qdrant where QDRANT_URL is set, else pgvector in the same Postgres. Connects with the first call."""
    if settings.qdrant_url is None:
        return PgVectorStore(pool)
    from shared.vectors.qdrant import open_qdrant  # its client takes half a second to import

    return open_qdrant(settings, pool)
