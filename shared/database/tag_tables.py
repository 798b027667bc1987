"""The tables of tagging: what each picture shows, and named sets of labels."""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Computed,
    DateTime,
    Index,
    Integer,
    String,
    Text,
    UniqueConstraint,
    event,
    func,
)
from sqlalchemy import text as sql_text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.schema import DDL

from shared.database.base import Base

Timestamp = DateTime(timezone=True)

MERGE_TAGS = """
CREATE OR REPLACE FUNCTION merge_tags(found jsonb, added text[], removed text[]) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT COALESCE(
    jsonb_agg(entry ORDER BY by_hand DESC, (entry->>'score')::float8 DESC, entry->>'tag' COLLATE "C"), '[]'
  )
  FROM (
    SELECT jsonb_build_object('tag', tag, 'score', 1.0, 'by', 'hand') AS entry, true AS by_hand
    FROM unnest(added) AS tag
    UNION ALL
    SELECT entry, false FROM jsonb_array_elements(found) AS entry
    WHERE entry->>'tag' <> ALL (added) AND entry->>'tag' <> ALL (removed)
  ) merged
$$
"""
"""Tags of a picture: those given by hand first, then what the model found, best first, less what was taken away."""


class TaggedImage(Base):
    """A picture with its tags. `tags` follows from what the model found and from what people changed by hand."""

    __tablename__ = "tagged_images"

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    tenant: Mapped[str] = mapped_column(Text)
    image_path: Mapped[str] = mapped_column(String(1000))
    """`root/folders/file.jpg` of a named root, a URL, or the id of a stored file."""
    tags: Mapped[Any] = mapped_column(
        JSONB, Computed("merge_tags(found_tags, added_tags, removed_tags)", persisted=True)
    )
    """`[{"tag": "cat", "score": 0.89}, …]`, best first; tags given by hand also have `"by": "hand"`."""
    exif_datetime: Mapped[datetime | None] = mapped_column(DateTime)
    """When the camera says that it was taken: local time, without a zone."""
    found_tags: Mapped[Any] = mapped_column(JSONB, server_default=sql_text("'[]'::jsonb"))
    """What the model found, best first."""
    added_tags: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=sql_text("'{}'::text[]"))
    """Given by hand; re-tagging keeps them."""
    removed_tags: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=sql_text("'{}'::text[]"))
    """Taken away by hand; re-tagging does not bring them back."""
    model: Mapped[str | None] = mapped_column(Text)
    recipe: Mapped[str | None] = mapped_column(Text)
    """Hash of all that a tagging depends on besides the picture: model, labels, templates, limits."""
    file_size: Mapped[int | None] = mapped_column(BigInteger)
    """Bytes, of a file in a directory."""
    file_mtime_ns: Mapped[int | None] = mapped_column(BigInteger)
    file_hash: Mapped[str | None] = mapped_column(Text)
    """SHA-256 of the file's bytes."""
    version: Mapped[int] = mapped_column(BigInteger, server_default="0")
    """The `seq` of the job that tagged it: an earlier job that runs later does not win."""
    created_at: Mapped[datetime] = mapped_column(Timestamp, server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(Timestamp, server_default=func.now())

    __table_args__ = (
        UniqueConstraint("tenant", "image_path"),
        Index("ix_tagged_images_tags", "tags", postgresql_using="gin", postgresql_ops={"tags": "jsonb_path_ops"}),
        Index("ix_tagged_images_taken", "tenant", "exif_datetime", "id"),
        Index("ix_tagged_images_score", "tenant", sql_text("(((tags -> 0) ->> 'score')::float8)"), "id"),
    )


class LabelSet(Base):
    """Labels under a name, with the templates that make prompts of them."""

    __tablename__ = "label_sets"

    tenant: Mapped[str] = mapped_column(Text, primary_key=True)
    name: Mapped[str] = mapped_column(Text(collation="C"), primary_key=True)
    labels: Mapped[list[str]] = mapped_column(ARRAY(Text))
    templates: Mapped[list[str]] = mapped_column(ARRAY(Text))
    created_at: Mapped[datetime] = mapped_column(Timestamp, server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(Timestamp, server_default=func.now())


event.listen(TaggedImage.__table__, "before_create", DDL(MERGE_TAGS))  # type: ignore[no-untyped-call]
