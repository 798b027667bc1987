"""Real Postgres and Valkey for integration tests: started once a session, a fresh database in milliseconds each.

- `postgres_server`, `redis_url`: session-wide servers.
- `postgres_url`: a fresh database with every table for one test; `module_postgres_url`: for one module.
- `make_database`: as many fresh databases as a test wants.
- `empty_redis_url`: the session's Valkey, flushed for this test.
"""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
import redis
import sqlalchemy

from local import postgres, valkey
from shared.database.migrate import engine_url
from shared.database.schema import metadata

TEMPLATE = "template_darkroom"


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[postgres.Postgres]:
    with postgres.running(tmp_path_factory.mktemp("pg"), durable=False) as server:
        yield server


@pytest.fixture(scope="session")
def valkey_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[valkey.Valkey]:
    with valkey.running(tmp_path_factory.mktemp("vk"), durable=False) as server:
        yield server


@pytest.fixture(scope="session")
def redis_url(valkey_server: valkey.Valkey) -> str:
    return valkey_server.url


@pytest.fixture
def empty_redis_url(redis_url: str) -> str:
    with redis.Redis.from_url(redis_url) as client:
        client.flushall()
    return redis_url


@pytest.fixture(scope="session")
def template_database(postgres_server: postgres.Postgres) -> str:
    """A database with every table, to copy from."""
    _administer(postgres_server, f"CREATE DATABASE {TEMPLATE}")
    create_tables(postgres_server.url(TEMPLATE))
    return TEMPLATE


@pytest.fixture(scope="session")
def make_database(postgres_server: postgres.Postgres, template_database: str) -> Callable[[], str]:
    """Call it for the URL of one more fresh database. All are dropped with the server."""
    numbers = itertools.count(1)

    def make() -> str:
        name = f"test_{next(numbers)}"
        _administer(postgres_server, f"CREATE DATABASE {name} TEMPLATE {template_database} STRATEGY file_copy")
        return postgres_server.url(name)

    return make


@pytest.fixture
def postgres_url(make_database: Callable[[], str], postgres_server: postgres.Postgres) -> Iterator[str]:
    url = make_database()
    yield url
    name = sqlalchemy.make_url(url).database
    _administer(postgres_server, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@pytest.fixture(scope="module")
def module_postgres_url(make_database: Callable[[], str]) -> str:
    return make_database()


@pytest.fixture
def state_folder(tmp_path: Path) -> Path:
    """A folder for files that a test's processes keep."""
    return tmp_path / "state"


def create_tables(url: str) -> None:
    """Every table as the code says it; `tests/integration/migrations` proves that the migrations make the same."""
    engine = sqlalchemy.create_engine(engine_url(url))
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("CREATE EXTENSION IF NOT EXISTS vector"))
        metadata.create_all(connection)
    engine.dispose()


def _administer(server: postgres.Postgres, statement: str) -> None:
    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        connection.execute(statement)
