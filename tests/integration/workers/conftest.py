"""A connection to look with, and an executor to try."""

from collections.abc import Iterator

import pytest

from shared.database.pool import Connection, connect, open_pool
from tests.integration.workers.rig import Worker


@pytest.fixture
def connection(postgres_url: str) -> Iterator[Connection]:
    with connect(postgres_url) as connection:
        yield connection


@pytest.fixture
def worker(postgres_url: str) -> Iterator[Worker]:
    with open_pool(postgres_url) as pool:
        worker = Worker(postgres_url, pool)
        yield worker
        worker.executor._heartbeat.close()
