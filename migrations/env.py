"""How alembic reaches the database: one connection, one transaction, one migrating process at a time."""

import os

import sqlalchemy
from alembic import context
from sqlalchemy.engine import Connection

from shared.database.migrate import engine_url, is_ours
from shared.database.schema import metadata

LOCK = 0x6461726B726F6F6D  # "darkroom"
"""Key of the advisory lock. It ends with the transaction: a transaction-mode pooler may stand in front."""


def migrate(connection: Connection) -> None:
    context.configure(connection=connection, target_metadata=metadata, include_object=is_ours, compare_type=True)
    with context.begin_transaction():
        connection.execute(sqlalchemy.text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK})
        context.run_migrations()


def main() -> None:
    url = context.config.get_main_option("sqlalchemy.url") or os.environ.get("DARKROOM_DATABASE_URL")
    if context.is_offline_mode():
        context.configure(dialect_name="postgresql", target_metadata=metadata, literal_binds=True)
        with context.begin_transaction():
            context.run_migrations()
        return
    if url is None:
        raise SystemExit("Set DARKROOM_DATABASE_URL to the database to migrate.")
    engine = sqlalchemy.create_engine(engine_url(url), poolclass=sqlalchemy.NullPool)
    with engine.connect() as connection:
        migrate(connection)
    engine.dispose()


main()
