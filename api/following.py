"""Waiting for a job to end, as `Prefer: wait` asks for."""

import uuid

from api.services import Services
from api.views import ended
from shared.database.asynchronous import Row
from shared.jobs import queries


async def wait_for(services: Services, tenant: str, job_id: uuid.UUID, seconds: float) -> Row | None:
    """A tenant's job when it has ended, or as it is after so many seconds; None when there is none (any more)."""

    async def look() -> Row | None:
        return await queries.get(services.database, tenant, job_id)

    if not seconds:
        return await look()
    with services.hub.watch(job_id) as event:
        return await services.hub.wait(event, look, lambda row: row is None or ended(row), seconds)
