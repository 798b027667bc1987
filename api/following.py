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

    `event`: of the hub, watched from before the job was submitted. Without it the job may have ended already.
    """

    async def look() -> Row | None:
        return await queries.get(services.database, tenant, job_id)

    def done(row: Row | None) -> bool:
        return row is None or ended(row)

    if not seconds:
        return await look()
    if event is not None:
        return await services.hub.wait(event, look, done, seconds)
    with services.hub.watch(job_id) as watched:
        seen = await look()
        return seen if done(seen) else await services.hub.wait(watched, look, done, seconds)
