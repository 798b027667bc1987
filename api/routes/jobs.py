"""`/v1/jobs`: follow, list, cancel, retry and delete jobs."""

import asyncio
import uuid
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, model_validator
from starlette.responses import Response

from api import cursors, openapi, preferences
from api.auth import Caller, needs
from api.following import wait_for
from api.ringing import ring_again
from api.routes.submit import PREFER
from api.services import Services, services_of
from api.views import base_url, full_job_view, job_view, json_response
from shared.contracts.jobs import JobStatus
from shared.database.asynchronous import Row
from shared.errors import FieldFault, InvalidInput
from shared.jobs import control, queries
from shared.jobs.control import no_such_job
from shared.jobs.queries import JobFilter
from shared.storage.keys import job_prefix

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])
Reader = Annotated[Caller, Depends(needs("jobs:read"))]
Writer = Annotated[Caller, Depends(needs("jobs:write"))]
JOB = openapi.answer("The job", "Job")
METADATA = "metadata."
FIRST_YEAR, LAST_YEAR = 1970, 9000
"""Ids count from the first; beyond the last, sums of moments and offsets leave what Python and Postgres can tell."""


def _sensible(moment: datetime) -> datetime:
    if not FIRST_YEAR <= moment.year <= LAST_YEAR:
        raise ValueError(f"must lie in the years {FIRST_YEAR} to {LAST_YEAR}")
    return moment


Moment = Annotated[AwareDatetime, AfterValidator(_sensible)]


class JobsQuery(BaseModel):
    """What a list of jobs may be narrowed to. `metadata.KEY=value` narrows it to jobs with that metadata."""

    model_config = ConfigDict(extra="allow")

    kind: str | None = None
    status: JobStatus | None = None
    created_after: Moment | None = None
    created_before: Moment | None = None
    limit: Annotated[int, Field(ge=1, le=100)] = 20
    cursor: str | None = None

    @model_validator(mode="after")
    def _only_metadata_besides(self) -> "JobsQuery":
        faults = [
            FieldFault(name, "is no known parameter, or stands twice")
            for name, value in (self.model_extra or {}).items()
            if not name.startswith(METADATA) or not isinstance(value, str)
        ]
        if faults:
            raise InvalidInput("The request is not valid.", faults=tuple(faults))
        return self

    @property
    def metadata(self) -> dict[str, str]:
        return {name.removeprefix(METADATA): value for name, value in (self.model_extra or {}).items()}


@router.get(
    "/{job_id}",
    operation_id="get_job",
    summary="A job, waiting for its end if asked to",
    response_class=Response,
    responses={200: JOB, **openapi.problems(404)},
    openapi_extra={"parameters": [PREFER]},
)
async def get_job(job_id: str, request: Request, caller: Reader) -> Response:
    services, seconds = services_of(request), preferences.wait_seconds(request)
    row = await wait_for(services, caller.tenant, _id(job_id), seconds)
    headers = {"Preference-Applied": f"wait={seconds}"} if seconds else None
    return await _shown(services, request, row, job_id, headers)


@router.get(
    "",
    operation_id="list_jobs",
    summary="Jobs, newest first (inputs and outputs over 64 kB are null here: get the job for them)",
    response_class=Response,
    responses={200: openapi.answer("A page of jobs", "JobList"), **openapi.problems(422)},
)
async def list_jobs(request: Request, caller: Reader, query: Annotated[JobsQuery, Query()]) -> Response:
    services = services_of(request)
    before = cursors.to_id(query.cursor) if query.cursor else None
    wanted = JobFilter(
        tenant=caller.tenant,
        kind=query.kind,
        status=query.status,
        metadata=query.metadata,
        created_after=query.created_after,
        created_before=query.created_before,
        before=before,
    )
    rows = await queries.page(services.database, wanted, query.limit + 1)
    base = base_url(request, services.settings.public_url)
    more = len(rows) > query.limit
    data = [job_view(row, base) for row in rows[: query.limit]]
    return json_response({"data": data, "next_cursor": cursors.of_id(rows[query.limit - 1]["id"]) if more else None})


@router.post(
    "/{job_id}/cancel",
    operation_id="cancel_job",
    summary="Cancel a job that has not ended; asking again changes nothing",
    response_class=Response,
    responses={200: JOB, **openapi.problems(404, 409)},
)
async def cancel_job(job_id: str, request: Request, caller: Writer) -> Response:
    services, id = services_of(request), _id(job_id)
    days = services.settings.retention_days
    if await control.cancel(services.database, caller.tenant, id, retention_days=days) == JobStatus.CANCELED:
        await services.hub.announce([id])
    return await _shown(services, request, await queries.get(services.database, caller.tenant, id), job_id)


@router.post(
    "/{job_id}/retry",
    operation_id="retry_job",
    summary="Run a failed or canceled job once more, as if it were new",
    status_code=202,
    response_class=Response,
    responses={202: JOB, **openapi.problems(404, 409)},
)
async def retry_job(job_id: str, request: Request, caller: Writer) -> Response:
    services, id = services_of(request), _id(job_id)
    row = await control.retry(services.database, caller.tenant, id)
    ring_again(services.doorbell, row["queue"], id)
    shown = await queries.get(services.database, caller.tenant, id)
    return await _shown(services, request, shown, job_id, status=202)


@router.delete(
    "/{job_id}",
    operation_id="delete_job",
    summary="Erase a job: its input, output and files (a running one is 409: cancel it first)",
    status_code=204,
    response_class=Response,
    responses={204: {"description": "It is gone"}, **openapi.problems(404, 409)},
)
async def delete_job(job_id: str, request: Request, caller: Writer) -> Response:
    services, id = services_of(request), _id(job_id)
    async with services.database.transaction() as connection:
        held = await control.lock_for_deletion(connection, caller.tenant, id)
        unused = await control.delete(connection, id, held)
        await asyncio.to_thread(_erase_files, services, caller.tenant, id, unused)
    await services.hub.announce([id])
    return Response(status_code=204)


def _erase_files(services: Services, tenant: str, job_id: uuid.UUID, keys: list[str]) -> None:
    services.storage.delete_prefix(job_prefix(tenant, str(job_id)))
    for key in keys:
        services.storage.delete(key)


async def _shown(
    services: Services,
    request: Request,
    row: Row | None,
    job_id: str,
    headers: dict[str, str] | None = None,
    *,
    status: int = 200,
) -> Response:
    if row is None:
        raise no_such_job(job_id)
    base = base_url(request, services.settings.public_url)
    return json_response(await full_job_view(row, base, services.storage), status, headers)


def _id(text: str) -> uuid.UUID:
    """Raises NotFound for what cannot be a job's id: there is no such job."""
    try:
        return uuid.UUID(text)
    except ValueError:
        raise no_such_job(ascii(text[:80])) from None
