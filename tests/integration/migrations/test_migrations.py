"""The migrations make what the tables say, both ways, whoever runs them at once."""

import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from sqlalchemy import make_url

from local.postgres import Postgres
from shared.database import migrate
from shared.errors import ConfigurationError

CATALOG = {
    "columns": """
        SELECT table_name, column_name, data_type, udt_name, is_nullable, column_default, collation_name
        FROM information_schema.columns WHERE table_schema = 'public' ORDER BY 1, 2""",
    "indexes": "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1, 2",
    "constraints": """
        SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
        WHERE connamespace = 'public'::regnamespace AND conrelid <> 0 ORDER BY 1, 2""",
    "storage": """
        SELECT relname, reloptions FROM pg_class
        WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' ORDER BY 1""",
}


@pytest.fixture
def blank_url(postgres_server: Postgres, request: pytest.FixtureRequest) -> Iterator[str]:
    """A database with nothing in it."""
    name = f"blank_{abs(hash(request.node.nodeid))}"
    with psycopg.connect(postgres_server.url("postgres"), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        yield postgres_server.url(name)
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def migrated_url(blank_url: str) -> str:
    migrate.upgrade(blank_url)
    return blank_url


def test_migrations_make_what_the_tables_say(migrated_url: str, postgres_url: str) -> None:
    """Stronger than `alembic check`, which compares neither predicates nor storage parameters."""
    migrated, created = catalog(migrated_url), catalog(postgres_url)
    for part in CATALOG:
        assert [row for row in migrated[part] if "alembic_version" not in row] == created[part], part


def test_alembic_check_is_clean_beside_a_run_time_index(migrated_url: str) -> None:
    migrate.check(migrated_url)
    with psycopg.connect(migrated_url) as connection:
        connection.execute("CREATE INDEX items_hnsw_x ON items USING hnsw ((embedding::vector(3)) vector_cosine_ops)")
    migrate.check(migrated_url)


def test_check_sees_a_difference(migrated_url: str) -> None:
    with psycopg.connect(migrated_url) as connection:
        connection.execute("ALTER TABLE jobs DROP COLUMN worker")
    with pytest.raises(Exception, match="worker"):
        migrate.check(migrated_url)


def test_down_and_up_again(migrated_url: str) -> None:
    before = catalog(migrated_url)
    migrate.downgrade(migrated_url, "base")
    assert {row[0] for row in catalog(migrated_url)["columns"]} == {"alembic_version"}
    migrate.upgrade(migrated_url)
    assert catalog(migrated_url) == before


def test_down_from_collections_that_were_rebuilt_and_deleted(migrated_url: str) -> None:
    kept, now, deleted, last, build = (uuid.uuid4() for _ in range(5))
    with psycopg.connect(migrated_url) as connection:
        connection.execute(
            "INSERT INTO collections (id, vectors_id, tenant, name, model, dimension, deleted_at) "
            "VALUES (%s, %s, 't', 'c', 'm', 3, NULL), (%s, %s, 't', 'c', 'm', 2, now())",
            (kept, now, deleted, last),
        )
        for id, vector in (kept, "[1,2]"), (now, "[1,2,3]"), (last, "[1,2]"), (build, "[1,2]"):
            connection.execute(
                "INSERT INTO items (collection_id, item_id, embedding, version) VALUES (%s, 'x', %s, 1)", (id, vector)
            )
        for id, dimension in (kept, 2), (now, 3):
            connection.execute(
                f"CREATE INDEX items_hnsw_{id.hex} ON items USING hnsw ((embedding::vector({dimension})) "
                f"vector_cosine_ops) WHERE collection_id = '{id}'".encode()
            )
    migrate.downgrade(migrated_url, "0001")
    with psycopg.connect(migrated_url) as connection:
        assert connection.execute("SELECT id, name FROM collections").fetchall() == [(kept, "c")]
        found = connection.execute("SELECT collection_id, embedding::text FROM items").fetchall()
        assert found == [(kept, "[1,2,3]")]
        assert not connection.execute("SELECT 1 FROM pg_indexes WHERE indexname LIKE 'items_hnsw%'").fetchall()
    migrate.upgrade(migrated_url)


def test_up_twice_keeps_the_rows(migrated_url: str) -> None:
    with psycopg.connect(migrated_url) as connection:
        connection.execute("INSERT INTO queues (name) VALUES ('embed')")
    migrate.upgrade(migrated_url)
    with psycopg.connect(migrated_url) as connection:
        assert connection.execute("SELECT count(*) FROM queues").fetchone() == (1,)


def test_processes_that_migrate_at_once_do_not_collide(blank_url: str) -> None:
    command = [sys.executable, "-m", "shared.database.migrate", "upgrade", "head"]
    environment = {"DARKROOM_DATABASE_URL": blank_url, "DARKROOM_EMBEDDED": "true"}
    both = [subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    ends = [(process.communicate(timeout=60)[1], process.returncode) for process in both]
    assert [code for _, code in ends] == [0, 0, 0], ends


def test_a_server_that_is_away_is_named(make_database: Callable[[], str]) -> None:
    away = make_url(make_database()).update_query_dict({"host": "/nonexistent"}).render_as_string(hide_password=False)
    with pytest.raises(ConfigurationError, match="DARKROOM_DATABASE_URL"):
        migrate.upgrade(away)


def catalog(url: str) -> dict[str, list[tuple[Any, ...]]]:
    with psycopg.connect(url) as connection:
        return {part: connection.execute(query.encode()).fetchall() for part, query in CATALOG.items()}
