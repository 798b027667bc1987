"""What Postgres makes of a statement of the API's."""

import asyncio
from typing import Any

import asyncpg


def run_all(url: str, *statements: str) -> None:
    """Run statements, each by itself."""

    async def run() -> None:
        connection = await asyncpg.connect(url)
        for statement in statements:
            await connection.execute(statement)
        await connection.close()

    asyncio.run(run())


async def plan(url: str, statement: str, *arguments: Any) -> str:
    """EXPLAIN ANALYZE of a statement that was run for it, and undone."""
    connection = await asyncpg.connect(url)
    transaction = connection.transaction()
    await transaction.start()
    lines = await connection.fetch(f"EXPLAIN (ANALYZE) {statement}", *arguments)
    await transaction.rollback()
    await connection.close()
    return "\n".join(line[0] for line in lines)
