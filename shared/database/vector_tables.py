"""The table of the pgvector store: every item of every collection."""

import uuid
from datetime import datetime
from typing import Any

from pgvector.sqlalchemy import VECTOR
from sqlalchemy import ARRAY, BigInteger, DateTime, Index, Text, Uuid, func
from sqlalchemy import text as sql_text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from shared.database.base import Base


class Item(Base):
    """One item. A large collection has an HNSW index of its own over this table, made by `PgVectorStore.optimize`."""

    __tablename__ = "items"

    collection_id: Mapped[uuid.UUID] = mapped_column(Uuid, primary_key=True)
    """`collections.vectors_id`."""
    item_id: Mapped[str] = mapped_column(Text(collation="C"), primary_key=True)
    """Compared by code points, the same in every locale."""
    embedding: Mapped[Any | None] = mapped_column(VECTOR())
    """Null: the item was deleted, and the row only remembers at which version."""
    payload: Mapped[Any] = mapped_column(JSONB, server_default=sql_text("'{}'::jsonb"))
    text: Mapped[str | None] = mapped_column(Text)
    words: Mapped[list[str] | None] = mapped_column(ARRAY(Text))
    """The distinct words of `text`, as `shared/vectors/words.py` splits it: what `text_match` looks for."""
    content_hash: Mapped[str | None] = mapped_column(Text)
    image: Mapped[Any | None] = mapped_column(JSONB)
    """Where the picture is, `{"url": …}` or `{"file": …}`, so that another model can embed it."""
    fingerprint: Mapped[Any | None] = mapped_column(JSONB)
    """`shared/images/fingerprint.py`."""
    version: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())

    __table_args__ = (
        Index("ix_items_payload", "payload", postgresql_using="gin", postgresql_ops={"payload": "jsonb_path_ops"}),
        Index("ix_items_words", "words", postgresql_using="gin"),
        Index("ix_items_file_hash", "collection_id", sql_text("(fingerprint ->> 'file_hash')")),
        Index("ix_items_pixel_hash", "collection_id", sql_text("(fingerprint ->> 'pixel_hash')")),
        # Items are counted from this index alone, and sampled in its order, which has nothing to do with their ids.
        Index(
            "ix_items_live",
            "collection_id",
            sql_text("hashtextextended(item_id, 0)"),
            postgresql_where=sql_text("embedding IS NOT NULL"),
        ),
        # A vector of up to 2,000 components stays in its row: an exact scan that has to fetch each one from beside the
        # table takes several times as long.
        {"postgresql_with": {"toast_tuple_target": "8160"}},
    )
