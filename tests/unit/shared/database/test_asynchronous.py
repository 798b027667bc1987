"""What counts as Postgres being away, and what is a fault of our own."""

import asyncpg
import pytest

from shared.database.asynchronous import unavailable
from shared.errors import DependencyUnavailable


@pytest.mark.parametrize(
    "error", [asyncpg.DiskFullError, asyncpg.TooManyConnectionsError, asyncpg.AdminShutdownError, ConnectionResetError]
)
def test_postgres_that_cannot_serve_is_away(error: type[Exception]) -> None:
    with pytest.raises(DependencyUnavailable), unavailable():
        raise error("it cannot")


@pytest.mark.parametrize("error", [asyncpg.UndefinedTableError, asyncpg.UniqueViolationError, KeyError])
def test_a_fault_of_our_own_is_not(error: type[Exception]) -> None:
    with pytest.raises(error), unavailable():
        raise error("it should not")
