"""`POST /v1/<kind>`, a route for each kind of the registry, and `POST /v1/jobs/batch`."""

import asyncio
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from api import openapi, preferences
from api.auth import Caller, needs
from api.body import read_body
from api.following import wait_for
from api.intake.drafts import read_batch, read_one
from api.intake.prepare import Reading, Understand, new_job
from api.ringing import ring_for
from api.services import Services, services_of
from api.views import base_url, ended, full_job_view, json_response, new_job_view
from shared.contracts.common import JobKind
from shared.errors import Conflict
from shared.jobs import queries, submission
from shared.jobs.control import no_such_job
from shared.jobs.submission import Accepted, KnownOutput, NewJob

_BATCH_MARK = "\x1f"
"""Between a batch's key and a job's place in it: in no key that a client can send."""
Writer = Annotated[Caller, Depends(needs("jobs:write"))]

IDEMPOTENCY_KEY = openapi.header(
    "Idempotency-Key", "The same key and body answer with the same job, also after a lost connection.", "order-42"
)
CANCEL_AFTER = openapi.header("Cancel-After", "Cancel the job when it has not ended by then: s, m, h or d.", "90s")
PREFER = openapi.header("Prefer", "Wait up to N seconds (1 to 60) for the job to end: 200 then, else 202.", "wait=10")


def router(kinds: Mapping[str, JobKind[Any, Any]]) -> APIRouter:
    """The routes of the kinds that this stack accepts."""
    routes = APIRouter(tags=["submit"])
    for kind in kinds.values():
        _add_kind(routes, kind)
    _add_batch(routes, kinds)
    return routes


def _add_kind(routes: APIRouter, kind: JobKind[Any, Any]) -> None:
    schema = f"{kind.name.capitalize()}Job"

    async def submit(request: Request, caller: Writer) -> Response:
        return await _submit(kind, request, caller)

    extra = openapi.json_body(f"{kind.name.capitalize()}Request", {"input": kind.example})
    routes.add_api_route(
        f"/v1/{kind.name}",
        submit,
        methods=["POST"],
        operation_id=f"submit_{kind.name}",
        summary=kind.summary,
        status_code=202,
        response_class=Response,
        responses={
            200: openapi.answer("The job has ended within the time that `Prefer: wait` gave it", schema),
            202: openapi.answer("The job is accepted", schema, Location="Where the job is"),
            **openapi.problems(400, 409, 413, 415, 422),
        },
        openapi_extra={**extra, "parameters": [IDEMPOTENCY_KEY, PREFER, CANCEL_AFTER]},
    )


def _add_batch(routes: APIRouter, kinds: Mapping[str, JobKind[Any, Any]]) -> None:
    async def submit_batch(request: Request, caller: Writer) -> Response:
        return await _submit_batch(request, caller)

    example = {"jobs": [{"kind": kind.name, "input": kind.example} for kind in kinds.values()]}
    routes.add_api_route(
        "/v1/jobs/batch",
        submit_batch,
        methods=["POST"],
        operation_id="submit_batch",
        summary="Submit up to 1,000 jobs together: all or none",
        status_code=202,
        response_class=Response,
        responses={
            202: openapi.answer("All jobs are accepted", "JobBatch"),
            **openapi.problems(400, 409, 413, 415, 422),
        },
        openapi_extra={
            **openapi.json_body("BatchRequest", example),
            "parameters": [IDEMPOTENCY_KEY, CANCEL_AFTER],
        },
    )


async def _submit(kind: JobKind[Any, Any], request: Request, caller: Caller) -> Response:
    services = services_of(request)
    seconds, key = preferences.wait_seconds(request), preferences.idempotency_key(request)
    cancel_after = preferences.cancel_after(request)
    reading = await _read(services, request, lambda body: [read_one(kind, body)], key)
    if key and reading.hashed and (known := await _replay(services, caller, {key: reading.hashed})):
        return await answer(services, request, caller, known[key], seconds)
    await services.intake.check(caller, reading)
    (job,) = await _new_jobs(services, request, caller, reading, [key], cancel_after)
    if not seconds or job.known:
        return await answer(services, request, caller, await services.submitter.submit(job), seconds, job)
    with services.hub.watch(job.id) as event:  # from before the job can end
        accepted = await services.submitter.submit(job)
        return await answer(services, request, caller, accepted, seconds, job, event)


async def answer(
    services: Services,
    request: Request,
    caller: Caller,
    accepted: Accepted,
    seconds: int = 0,
    job: NewJob | None = None,
    event: asyncio.Event | None = None,
) -> Response:
    """Ring for a new job, wait as long as the client prefers, and show what there is."""
    base = base_url(request, services.settings.public_url)
    headers = {"Location": f"{base}/v1/jobs/{accepted.id}"}
    if seconds:
        headers["Preference-Applied"] = f"wait={seconds}"
    if job is None or accepted.replayed:
        headers["Idempotency-Replayed"] = "true"
        event = None  # it watches the id that this request would have had
    elif job.known:
        return json_response(new_job_view(job, accepted, base), 200 if seconds else 202, headers)
    else:
        ring_for(services.doorbell, services.kinds, [job])
        if not seconds:
            return json_response(new_job_view(job, accepted, base), 202, headers)
    row = await wait_for(services, caller.tenant, accepted.id, seconds, event)
    if row is None:  # deleted in the meantime
        raise no_such_job(accepted.id)
    status = 200 if seconds and ended(row) else 202
    return json_response(await full_job_view(row, base, services.storage), status, headers)


async def _submit_batch(request: Request, caller: Caller) -> Response:
    services = services_of(request)
    key, cancel_after = preferences.idempotency_key(request), preferences.cancel_after(request)
    reading = await _read(services, request, lambda body: read_batch(services.offered, body), key)
    keys = [f"{key}{_BATCH_MARK}{index}" if key else None for index in range(len(reading.drafts))]
    hashes = {name: reading.hashed for name in keys if name and reading.hashed}
    if known := await _replay(services, caller, hashes):
        found = [known[name] for name in hashes if name in known]
        return await _batch_replay(services, request, caller, found, len(keys))
    await services.intake.check(caller, reading)
    jobs = await _new_jobs(services, request, caller, reading, keys, cancel_after)
    accepted = await submission.insert_all(services.database, jobs)
    if any(result.replayed for result in accepted):
        return await _batch_replay(services, request, caller, accepted, len(keys))
    ring_for(services.doorbell, services.kinds, [job for job in jobs if not job.known])
    base = base_url(request, services.settings.public_url)
    views = [new_job_view(job, result, base) for job, result in zip(jobs, accepted, strict=True)]
    return json_response({"jobs": views}, 202)


async def _batch_replay(
    services: Services, request: Request, caller: Caller, jobs: list[Accepted], total: int
) -> Response:
    """Show the jobs that a batch's key stands for. Raises Conflict unless all `total` of them are still there."""
    base = base_url(request, services.settings.public_url)
    rows = await queries.many(services.database, caller.tenant, [job.id for job in jobs])
    if len(rows) < total:
        raise Conflict(
            f"This Idempotency-Key stands for a batch that was accepted, but {total - len(rows)} of its {total} jobs "
            "are gone: deleted, or past their retention. Send a new key to submit them all again.",
            code="idempotency_expired",
        )
    views = [await full_job_view(rows[job.id], base, services.storage) for job in jobs]
    return json_response({"jobs": views}, 202, {"Idempotency-Replayed": "true"})


async def _read(services: Services, request: Request, understand: Understand, key: str | None) -> Reading:
    """The body, understood; it is not held while the request waits for anything."""
    body = await read_body(request, services.settings.max_body_bytes)
    return await services.intake.read(body, understand, hashed=key is not None)


async def _new_jobs(
    services: Services,
    request: Request,
    caller: Caller,
    reading: Reading,
    keys: list[str | None],
    cancel_after: float | None,
) -> list[NewJob]:
    """Rows of checked drafts, with the outputs that are known already."""
    known = await _known_outputs(services, request, caller, reading)

    def make() -> list[NewJob]:
        return [
            new_job(draft, caller, key=key, hashed=reading.hashed, cancel_after=cancel_after, known=known.get(place))
            for place, (draft, key) in enumerate(zip(reading.drafts, keys, strict=True))
        ]

    return await services.intake.aside.run(reading.size, make)


async def _known_outputs(
    services: Services, request: Request, caller: Caller, reading: Reading
) -> dict[int, KnownOutput]:
    """By the place of the draft."""
    looked = await services.answers.look_up(caller.tenant, reading.drafts)
    for one in looked.values():
        request.app.state.metrics.looked_up(one.answer)
    keep_days = services.settings.retention_days
    return {place: KnownOutput(one.json, keep_days) for place, one in looked.items() if one.json is not None}


async def _replay(services: Services, caller: Caller, hashes: dict[str, bytes]) -> dict[str, Accepted]:
    """The jobs that these idempotency keys stand for already; empty when there is none.

    Raises:
        Conflict: a key stands for another request.
    """
    found = await submission.replays(services.database, caller.tenant, hashes)
    for result in found.values():
        if isinstance(result, Conflict):
            raise result
    return {key: result for key, result in found.items() if isinstance(result, Accepted)}
