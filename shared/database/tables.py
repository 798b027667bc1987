"""The tables of the spine. Statements that move a job from state to state are in `shared/jobs/`.

Large `input` and `output` values rest beside the row (Postgres moves values over 2 kB out of line by itself, and an
update that leaves them alone does not copy them), so the row that is claimed and beaten stays small.
"""

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    CheckConstraint,
    DateTime,
    Float,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    Text,
    UniqueConstraint,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from shared.database.base import Base

Timestamp = DateTime(timezone=True)


class Job(Base):
    """One accepted request. `docs/architecture.md` tells its life; `attempt` is the fencing token."""

    __tablename__ = "jobs"

    id: Mapped[uuid.UUID] = mapped_column(Uuid, primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger, Identity())
    """Order of submission: what a later job wrote outside its row, an earlier one that runs later must not undo."""
    tenant: Mapped[str] = mapped_column(Text)
    key_id: Mapped[str | None] = mapped_column(Text)
    kind: Mapped[str] = mapped_column(Text)
    queue: Mapped[str] = mapped_column(Text)
    batch_key: Mapped[str | None] = mapped_column(Text)
    """Jobs of one queue with the same key may share a forward pass; null: this job runs alone."""
    state: Mapped[str] = mapped_column(Text, server_default="queued")
    priority: Mapped[int] = mapped_column(SmallInteger, server_default="1")
    """0 high, 1 normal, 2 low."""

    input: Mapped[Any] = mapped_column(JSONB)
    output: Mapped[Any | None] = mapped_column(JSONB)
    output_key: Mapped[str | None] = mapped_column(Text)
    """Storage key of a compressed output over 256 kB; `output` is null then."""
    cached: Mapped[bool] = mapped_column(server_default=text("false"))
    """The API answered it from the cache: no worker has seen it."""
    error: Mapped[Any | None] = mapped_column(JSONB)
    meta: Mapped[Any] = mapped_column("metadata", JSONB, server_default=text("'{}'::jsonb"))
    logs: Mapped[str] = mapped_column(Text, server_default="")
    progress_fraction: Mapped[float] = mapped_column(Float, server_default="0")
    progress_message: Mapped[str | None] = mapped_column(Text)

    attempt: Mapped[int] = mapped_column(Integer, server_default="0")
    failures: Mapped[int] = mapped_column(Integer, server_default="0")
    """Attempts that ended in a retryable error; `max_attempts` bounds these."""
    crashes: Mapped[int] = mapped_column(Integer, server_default="0")
    """Attempts whose worker died; bounded by the setting MAX_CRASHES."""
    max_attempts: Mapped[int] = mapped_column(Integer, server_default="3")
    timeout_seconds: Mapped[float] = mapped_column(Float)
    """Run time that one attempt may take."""

    idempotency_key: Mapped[str | None] = mapped_column(Text)
    request_hash: Mapped[bytes | None] = mapped_column(LargeBinary)

    created_at: Mapped[datetime] = mapped_column(Timestamp, server_default=func.now())
    next_run_at: Mapped[datetime] = mapped_column(Timestamp, server_default=func.now())
    started_at: Mapped[datetime | None] = mapped_column(Timestamp)
    completed_at: Mapped[datetime | None] = mapped_column(Timestamp)
    expires_at: Mapped[datetime | None] = mapped_column(Timestamp)
    lease_until: Mapped[datetime | None] = mapped_column(Timestamp)
    deadline_at: Mapped[datetime | None] = mapped_column(Timestamp)
    """When this attempt has run for `timeout_seconds`."""
    cancel_at: Mapped[datetime | None] = mapped_column(Timestamp)
    """`Cancel-After`: canceled when not finished by then."""
    cancel_requested_at: Mapped[datetime | None] = mapped_column(Timestamp)
    worker: Mapped[str | None] = mapped_column(Text)

    __table_args__ = (
        CheckConstraint("state IN ('queued', 'running', 'succeeded', 'failed', 'canceled')", name="state"),
        CheckConstraint("priority BETWEEN 0 AND 2", name="priority"),
        Index("ix_jobs_ready", "queue", "priority", "next_run_at", postgresql_where=text("state = 'queued'")),
        Index(
            "ix_jobs_siblings",
            "queue",
            "batch_key",
            "priority",
            "next_run_at",
            postgresql_where=text("state = 'queued' AND batch_key IS NOT NULL AND crashes = 0"),
        ),
        Index("ix_jobs_leases", "lease_until", postgresql_where=text("state = 'running'")),
        Index("ix_jobs_deadlines", "deadline_at", postgresql_where=text("state = 'running'")),
        Index(
            "ix_jobs_cancel_at",
            "cancel_at",
            postgresql_where=text("cancel_at IS NOT NULL AND state = 'queued'"),
        ),
        Index("ix_jobs_expiry", "expires_at", postgresql_where=text("expires_at IS NOT NULL")),
        Index(
            "uq_jobs_idempotency",
            "tenant",
            "idempotency_key",
            unique=True,
            postgresql_where=text("idempotency_key IS NOT NULL"),
        ),
        Index("ix_jobs_tenant", "tenant", text("id DESC")),
        Index("ix_jobs_tenant_kind", "tenant", "kind", text("id DESC")),
        Index("ix_jobs_tenant_state", "tenant", "state", text("id DESC")),
        Index(
            "ix_jobs_metadata",
            "metadata",
            postgresql_using="gin",
            postgresql_ops={"metadata": "jsonb_path_ops"},
        ),
        # Rows are updated three times in a busy minute: leave room in the page, and clean up early.
        {
            "postgresql_with": {
                "fillfactor": "70",
                "autovacuum_vacuum_scale_factor": "0.02",
                "autovacuum_analyze_scale_factor": "0.05",
                "autovacuum_vacuum_cost_delay": "0",
            }
        },
    )


class Queue(Base):
    """A queue that an operator touched; one that is not here is not paused."""

    __tablename__ = "queues"

    name: Mapped[str] = mapped_column(Text, primary_key=True)
    paused: Mapped[bool] = mapped_column(server_default=text("false"))
    updated_at: Mapped[datetime] = mapped_column(Timestamp, server_default=func.now())


class ApiKey(Base):
    """A key of a tenant; the secret itself is nowhere, only its keyed hash."""

    __tablename__ = "api_keys"

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    tenant: Mapped[str] = mapped_column(Text, index=True)
    name: Mapped[str] = mapped_column(Text, server_default="")
    secret_hash: Mapped[bytes] = mapped_column(LargeBinary)
    scopes: Mapped[list[str]] = mapped_column(ARRAY(Text))
    created_at: Mapped[datetime] = mapped_column(Timestamp, server_default=func.now())
    expires_at: Mapped[datetime | None] = mapped_column(Timestamp)
    last_used_at: Mapped[datetime | None] = mapped_column(Timestamp)
    revoked_at: Mapped[datetime | None] = mapped_column(Timestamp)


class File(Base):
    """A picture at rest: content-addressed within its tenant, so the same bytes are kept once."""

    __tablename__ = "files"

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    tenant: Mapped[str] = mapped_column(Text)
    sha256: Mapped[bytes] = mapped_column(LargeBinary)
    storage_key: Mapped[str] = mapped_column(Text)
    content_type: Mapped[str] = mapped_column(Text)
    size: Mapped[int] = mapped_column(BigInteger)
    """Bytes."""
    width: Mapped[int] = mapped_column(Integer)
    height: Mapped[int] = mapped_column(Integer)
    created_at: Mapped[datetime] = mapped_column(Timestamp, server_default=func.now())
    touched_at: Mapped[datetime] = mapped_column(Timestamp, server_default=func.now())
    """Last time a request brought these bytes; a file is erased only some time after."""

    __table_args__ = (UniqueConstraint("tenant", "sha256"), Index("ix_files_touched_at", "touched_at"))


class JobFile(Base):
    """Which jobs hold on to which files."""

    __tablename__ = "job_files"

    job_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    file_id: Mapped[str] = mapped_column(ForeignKey("files.id"), primary_key=True, index=True)


class Collection(Base):
    """A named set of items of a tenant; pins the model that made its vectors."""

    __tablename__ = "collections"

    id: Mapped[uuid.UUID] = mapped_column(Uuid, primary_key=True)
    tenant: Mapped[str] = mapped_column(Text)
    name: Mapped[str] = mapped_column(Text)
    model: Mapped[str] = mapped_column(Text)
    dimension: Mapped[int] = mapped_column(Integer)
    version: Mapped[int] = mapped_column(BigInteger, server_default="0")
    """Moves with every write into the collection."""
    vectors_id: Mapped[uuid.UUID] = mapped_column(Uuid, server_default=text("gen_random_uuid()"), unique=True)
    """What the vector store knows the collection by. Another model's vectors are built under another id beside it."""
    distance: Mapped[str] = mapped_column(Text, server_default="cosine")
    payload_schema: Mapped[Any | None] = mapped_column(JSONB)
    """Type by field (`shared/vectors/payload_schema.py`); null: any payload, any filter."""
    touches: Mapped[int] = mapped_column(BigInteger, server_default="0")
    """Moves as jobs confirm items that have not changed: no result is old then, but the items' versions are newer."""
    created_at: Mapped[datetime] = mapped_column(Timestamp, server_default=func.now())
    deleted_at: Mapped[datetime | None] = mapped_column(Timestamp)
    """Set: nobody finds it any more, and a job is removing its items."""

    __table_args__ = (
        Index("uq_collections_name", "tenant", "name", unique=True, postgresql_where=text("deleted_at IS NULL")),
    )


class LoadedModel(Base):
    """Which weights stand behind a model's alias, as the worker saw them that loaded the model last."""

    __tablename__ = "loaded_models"

    alias: Mapped[str] = mapped_column(Text, primary_key=True)
    weights: Mapped[str] = mapped_column(Text)
    """Changes with the files (`shared/loaded_models.py`)."""
    loaded_at: Mapped[datetime] = mapped_column(Timestamp, server_default=func.now())


class ItemFile(Base):
    """Stored pictures that items were made from: kept as long as the item is there, to be embedded anew.

    A write notes its picture before it is known to win, so an item may have several; housekeeping drops the others.
    """

    __tablename__ = "item_files"

    collection_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("collections.id", ondelete="CASCADE"), primary_key=True)
    item_id: Mapped[str] = mapped_column(Text(collation="C"), primary_key=True)
    file_id: Mapped[str] = mapped_column(ForeignKey("files.id"), primary_key=True, index=True)


class DiscardedVectors(Base):
    """Vectors that are no collection's: replaced by another model's, and removed once no search reads them any more;
    or still being made by a job, which puts their removal off as long as it runs.
    """

    __tablename__ = "discarded_vectors"

    vectors_id: Mapped[uuid.UUID] = mapped_column(Uuid, primary_key=True)
    dimension: Mapped[int] = mapped_column(Integer)
    remove_after: Mapped[datetime] = mapped_column(Timestamp)
    removed_at: Mapped[datetime | None] = mapped_column(Timestamp)
    """They are gone; the row tells late writers that the collection itself is not."""
