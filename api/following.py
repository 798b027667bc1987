"""Waiting for a job to end, as `Prefer: wait` asks for."""

import asyncio
import uuid

from api.services import Services
from api.views import ended
from shared.database.asynchronous import Row
from shared.jobs import queries


async def wait_for(
    services: Services, tenant: str, job_id: uuid.UUID, seconds: float, event: asyncio.Event | None = None
) -> Row | None:
    """A tenant's job when it has ended, or as it is after so many seconds; None when there is none (any more).

    Args:
        event: of `WaiterHub.watch`, by a caller that watched from before the job was there.
    """

    async def look() -> Row | None:
        return await queries.get(services.database, tenant, job_id)

    if not seconds:
        return await look()
    if event is not None:
        return await services.hub.wait(event, look, _settled, seconds)
    with services.hub.watch(job_id) as fresh:
        fresh.set()  # it may have ended before
        return await services.hub.wait(fresh, look, _settled, seconds)


def _settled(row: Row | None) -> bool:
    return row is None or ended(row)
