"""Words, pictures and fingerprints of items; typed collections that can be rebuilt; tagged pictures and label sets."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"

JSONB = postgresql.JSONB(astext_type=sa.Text())
MOMENT = sa.DateTime(timezone=True)
NOW = sa.text("now()")
NO_TEXTS = sa.text("'{}'::text[]")

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

# An index is named after the vectors, and its predicate and dimension are theirs: `optimize` makes new ones.
DROP_OTHERS_INDEXES = """
DO $$
DECLARE index_name text;
BEGIN
  FOR index_name IN
    SELECT indexname FROM pg_indexes
    WHERE schemaname = current_schema() AND tablename = 'items' AND indexname LIKE 'items\\_hnsw\\_%'
      AND indexname NOT IN (SELECT 'items_hnsw_' || replace(id::text, '-', '') FROM collections WHERE vectors_id = id)
  LOOP
    EXECUTE format('DROP INDEX %I', index_name);
  END LOOP;
END $$
"""


def upgrade() -> None:
    op.add_column("jobs", sa.Column("cached", sa.Boolean(), server_default=sa.text("false"), nullable=False))
    _extend_collections()
    _extend_items()
    _create_item_files()
    _create_tagged_images()
    _create_label_sets()
    _create_loaded_models()


def downgrade() -> None:
    for table in ("loaded_models", "label_sets", "tagged_images", "discarded_vectors", "item_files"):
        op.drop_table(table)
    op.execute("DROP FUNCTION merge_tags(jsonb, text[], text[])")
    for index in ("ix_items_live", "ix_items_words", "ix_items_file_hash", "ix_items_pixel_hash"):
        op.drop_index(index, "items")
    for column in ("words", "image", "fingerprint"):
        op.drop_column("items", column)
    # A name is unique again and an id is the vectors' own: what is being deleted, built or was replaced goes. Vectors
    # that Qdrant holds keep their names: collections that were embedded anew have to be indexed anew there.
    op.execute("DELETE FROM collections WHERE deleted_at IS NOT NULL")
    op.execute("DELETE FROM items WHERE collection_id NOT IN (SELECT vectors_id FROM collections)")
    op.execute(DROP_OTHERS_INDEXES)
    op.execute(
        "UPDATE items SET collection_id = c.id FROM collections c "
        "WHERE c.vectors_id = items.collection_id AND c.vectors_id <> c.id"
    )
    op.drop_index("uq_collections_name", "collections")
    for column in ("vectors_id", "distance", "payload_schema", "touches", "deleted_at"):
        op.drop_column("collections", column)
    op.create_unique_constraint(op.f("uq_collections_tenant_name"), "collections", ["tenant", "name"])
    op.drop_column("jobs", "cached")


def _extend_collections() -> None:
    op.add_column(
        "collections",
        sa.Column("vectors_id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
    )
    op.execute("UPDATE collections SET vectors_id = id")
    op.create_unique_constraint(op.f("uq_collections_vectors_id"), "collections", ["vectors_id"])
    op.add_column("collections", sa.Column("distance", sa.Text(), server_default="cosine", nullable=False))
    op.add_column("collections", sa.Column("payload_schema", JSONB, nullable=True))
    op.add_column("collections", sa.Column("touches", sa.BigInteger(), server_default="0", nullable=False))
    op.add_column("collections", sa.Column("deleted_at", MOMENT, nullable=True))
    op.drop_constraint(op.f("uq_collections_tenant_name"), "collections")
    op.create_index(
        "uq_collections_name",
        "collections",
        ["tenant", "name"],
        unique=True,
        postgresql_where=sa.text("deleted_at IS NULL"),
    )


def _extend_items() -> None:
    op.add_column("items", sa.Column("words", sa.ARRAY(sa.Text()), nullable=True))
    op.add_column("items", sa.Column("image", JSONB, nullable=True))
    op.add_column("items", sa.Column("fingerprint", JSONB, nullable=True))
    op.create_index("ix_items_words", "items", ["words"], postgresql_using="gin")
    op.create_index("ix_items_file_hash", "items", ["collection_id", sa.text("(fingerprint ->> 'file_hash')")])
    op.create_index("ix_items_pixel_hash", "items", ["collection_id", sa.text("(fingerprint ->> 'pixel_hash')")])
    op.create_index(
        "ix_items_live",
        "items",
        ["collection_id", sa.text("hashtextextended(item_id, 0)")],
        postgresql_where=sa.text("embedding IS NOT NULL"),
    )


def _create_item_files() -> None:
    op.create_table(
        "item_files",
        sa.Column("collection_id", sa.Uuid(), nullable=False),
        sa.Column("item_id", sa.Text(collation="C"), nullable=False),
        sa.Column("file_id", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["collection_id"], ["collections.id"], name=op.f("fk_item_files_collection_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["file_id"], ["files.id"], name=op.f("fk_item_files_file_id")),
        sa.PrimaryKeyConstraint("collection_id", "item_id", "file_id", name=op.f("pk_item_files")),
    )
    op.create_index(op.f("ix_item_files_file_id"), "item_files", ["file_id"])
    op.create_table(
        "discarded_vectors",
        sa.Column("vectors_id", sa.Uuid(), nullable=False),
        sa.Column("dimension", sa.Integer(), nullable=False),
        sa.Column("remove_after", MOMENT, nullable=False),
        sa.Column("removed_at", MOMENT, nullable=True),
        sa.PrimaryKeyConstraint("vectors_id", name=op.f("pk_discarded_vectors")),
    )


def _create_tagged_images() -> None:
    op.execute(MERGE_TAGS)
    op.create_table(
        "tagged_images",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("image_path", sa.String(1000), nullable=False),
        sa.Column(
            "tags",
            JSONB,
            sa.Computed("merge_tags(found_tags, added_tags, removed_tags)", persisted=True),
            nullable=False,
        ),
        sa.Column("exif_datetime", sa.DateTime(), nullable=True),
        sa.Column("found_tags", JSONB, server_default=sa.text("'[]'::jsonb"), nullable=False),
        sa.Column("added_tags", sa.ARRAY(sa.Text()), server_default=NO_TEXTS, nullable=False),
        sa.Column("removed_tags", sa.ARRAY(sa.Text()), server_default=NO_TEXTS, nullable=False),
        sa.Column("model", sa.Text(), nullable=True),
        sa.Column("recipe", sa.Text(), nullable=True),
        sa.Column("file_size", sa.BigInteger(), nullable=True),
        sa.Column("file_mtime_ns", sa.BigInteger(), nullable=True),
        sa.Column("file_hash", sa.Text(), nullable=True),
        sa.Column("version", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("created_at", MOMENT, server_default=NOW, nullable=False),
        sa.Column("updated_at", MOMENT, server_default=NOW, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tagged_images")),
        sa.UniqueConstraint("tenant", "image_path", name=op.f("uq_tagged_images_tenant_image_path")),
    )
    op.create_index(
        "ix_tagged_images_tags",
        "tagged_images",
        ["tags"],
        postgresql_using="gin",
        postgresql_ops={"tags": "jsonb_path_ops"},
    )
    op.create_index("ix_tagged_images_taken", "tagged_images", ["tenant", "exif_datetime", "id"])
    best_score = sa.text("(((tags -> 0) ->> 'score')::float8)")
    op.create_index("ix_tagged_images_score", "tagged_images", ["tenant", best_score, "id"])


def _create_label_sets() -> None:
    op.create_table(
        "label_sets",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(collation="C"), nullable=False),
        sa.Column("labels", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("templates", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("created_at", MOMENT, server_default=NOW, nullable=False),
        sa.Column("updated_at", MOMENT, server_default=NOW, nullable=False),
        sa.PrimaryKeyConstraint("tenant", "name", name=op.f("pk_label_sets")),
    )


def _create_loaded_models() -> None:
    op.create_table(
        "loaded_models",
        sa.Column("alias", sa.Text(), nullable=False),
        sa.Column("weights", sa.Text(), nullable=False),
        sa.Column("loaded_at", MOMENT, server_default=NOW, nullable=False),
        sa.PrimaryKeyConstraint("alias", name=op.f("pk_loaded_models")),
    )
