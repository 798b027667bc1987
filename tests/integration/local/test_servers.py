"""The embedded servers answer every driver that Darkroom uses, and keep their data."""

from collections.abc import Callable
from pathlib import Path

import asyncpg
import psycopg
import pytest
import redis
import sqlalchemy
from kombu.connection import Connection
from redis.backoff import NoBackoff
from redis.retry import Retry
from sqlalchemy.ext.asyncio import create_async_engine

from local import postgres, valkey


async def test_every_driver_takes_the_same_url(postgres_url: str) -> None:
    with psycopg.connect(postgres_url) as connection:
        assert connection.execute("SELECT count(*) FROM jobs").fetchone() == (0,)
    direct = await asyncpg.connect(postgres_url)
    assert await direct.fetchval("SELECT count(*) FROM jobs") == 0
    await direct.close()
    engine = create_async_engine(sqlalchemy.make_url(postgres_url).set(drivername="postgresql+asyncpg"))
    async with engine.connect() as session:
        assert await session.scalar(sqlalchemy.text("SELECT count(*) FROM jobs")) == 0
    await engine.dispose()


def test_each_database_is_fresh(make_database: Callable[[], str]) -> None:
    first, second = make_database(), make_database()
    with psycopg.connect(first) as connection:
        connection.execute("INSERT INTO queues (name) VALUES ('embed')")
    with psycopg.connect(second) as connection:
        assert connection.execute("SELECT count(*) FROM queues").fetchone() == (0,)


def test_vectors_are_there(postgres_url: str) -> None:
    with psycopg.connect(postgres_url) as connection:
        distance = connection.execute("SELECT '[1,0]'::vector <=> '[0,1]'::vector").fetchone()
    assert distance == (1.0,)


def test_redis_and_celery_take_the_same_url(empty_redis_url: str) -> None:
    with redis.Redis.from_url(empty_redis_url) as client:
        assert client.dbsize() == 0
    with Connection(empty_redis_url) as broker:  # type: ignore[no-untyped-call]
        broker.ensure_connection(max_retries=1)


def test_valkey_wants_its_password(valkey_server: valkey.Valkey) -> None:
    once = Retry(NoBackoff(), 0)
    with redis.Redis(port=valkey_server.port, retry=once) as stranger, pytest.raises(redis.AuthenticationError):
        stranger.ping()


def test_data_survives_a_restart_in_a_folder_with_a_long_name(tmp_path: Path) -> None:
    folder = tmp_path / ("a long name " * 12)
    folder.mkdir()
    for expected in (None, "kept"):
        with postgres.running(folder) as server, psycopg.connect(server.url(), autocommit=True) as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS kept (word text)")
            row = connection.execute("SELECT word FROM kept").fetchone()
            assert (row and row[0]) == expected
            connection.execute("INSERT INTO kept VALUES ('kept')")
        with valkey.running(folder) as cache, redis.Redis.from_url(cache.url, decode_responses=True) as client:
            assert client.get("kept") == expected
            client.set("kept", "kept")
