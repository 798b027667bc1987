"""The database's history, run by `shared/database/migrate.py` (and by `alembic` by hand)."""
