"""`/v1/collections`: named sets of items, each pinned to the model that makes its vectors."""

import asyncio
import uuid
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from api import cursors, openapi, preferences
from api.auth import Caller, needs
from api.body import read_json
from api.errors import Forbidden
from api.routes.submit import PREFER, answer
from api.services import Services, services_of
from api.threads import with_connection
from api.validation import validated
from shared import collection_requests, collections
from shared.collection_requests import no_such_collection
from shared.collections import CollectionRow, Distance
from shared.contracts.common import Alias, CollectionName, Contract, JobKind
from shared.contracts.delete_collection import DELETE_COLLECTION, DeleteCollectionInput
from shared.contracts.jobs import PRIORITIES
from shared.contracts.reembed import REEMBED, ReembedInput
from shared.errors import Conflict, ErrorCode, FieldFault, InvalidInput
from shared.jobs.submission import NewJob, new_id
from shared.model_registry import ModelSpec
from shared.vectors.payload_schema import FieldType, parse_schema

router = APIRouter(prefix="/v1/collections", tags=["collections"])
Reader = Annotated[Caller, Depends(needs("jobs:read"))]
Writer = Annotated[Caller, Depends(needs("collections:write"))]
DELETE_ATTEMPTS, REEMBED_ATTEMPTS = 20, 3


class CollectionRequest(Contract):
    """A collection to be."""

    name: CollectionName
    model: Alias | None = None
    """The default model of `index` jobs when absent."""
    distance: Distance | None = None
    """How `distance` in results is measured; `cosine` when absent. The order is the same for each."""
    payload_schema: dict[str, JsonValue] | None = None
    """The type (`keyword`, `number`, `boolean`, `datetime`) of payload fields by their dotted paths."""


class ReembedRequest(Contract):
    """Another model for a collection."""

    model: Alias
    drop_failed: bool = False
    """Leave out the items that cannot be embedded anew, rather than fail."""


class Collection(BaseModel):
    """A collection. Its dimension is that of its model's vectors."""

    name: str
    model: str
    dimension: int
    distance: Distance
    payload_schema: dict[str, FieldType] | None
    created_at: datetime | None


class Rebuilding(BaseModel):
    """The job that embeds a collection anew, and the model it does so with."""

    job: uuid.UUID
    model: str


class CollectionDetail(Collection):
    """A collection and how large it is."""

    count: int
    """Items."""
    size_bytes: int
    """An estimate, indexes included."""
    rebuilding: Rebuilding | None


class CollectionList(BaseModel):
    data: list[Collection]
    next_cursor: str | None


class PageQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")

    limit: Annotated[int, Field(ge=1, le=1000)] = 100
    cursor: str | None = None


JOB_ANSWERS: openapi.Responses = {
    200: openapi.answer("The job has ended within the time that `Prefer: wait` gave it", "Job"),
    202: openapi.answer("The job is accepted", "Job", Location="Where the job is"),
}


@router.post(
    "",
    operation_id="create_collection",
    summary="Create a collection, or find it as it is",
    status_code=201,
    responses={200: {"model": Collection, "description": "It was there"}, **openapi.problems(400, 409, 415, 422)},
    openapi_extra=openapi.json_body("CollectionRequest", {"name": "shoes", "payload_schema": {"price": "number"}}),
)
async def create_collection(request: Request, response: Response, caller: Writer) -> Collection:
    services = services_of(request)
    asked: CollectionRequest = validated(CollectionRequest, await read_json(request, services.settings.max_body_bytes))
    schema = None if asked.payload_schema is None else parse_schema(asked.payload_schema, "payload_schema")
    found = await _find(services, caller, asked.name)
    if found is not None:
        response.status_code = 200
        return _view(_as_asked(found, asked))
    spec = _model(services, asked.model)
    row = await with_connection(
        services,
        lambda connection: collections.ensure(
            connection,
            caller.tenant,
            asked.name,
            model=spec.alias,
            dimension=spec.dimension or 0,
            distance=asked.distance or "cosine",
            schema=schema,
        ),
    )
    await asyncio.to_thread(lambda: services.vectors.create_collection(row.ref, row.payload_schema))
    response.headers["Location"] = f"/v1/collections/{asked.name}"
    return _view(_as_asked(row, asked))


@router.get(
    "", operation_id="list_collections", summary="The tenant's collections, by name", responses=openapi.problems(422)
)
async def list_collections(request: Request, caller: Reader, query: Annotated[PageQuery, Query()]) -> CollectionList:
    after = cursors.to_text(query.cursor) if query.cursor else None
    rows = await with_connection(
        services_of(request),
        lambda connection: collections.of_tenant(connection, caller.tenant, after=after, limit=query.limit + 1),
    )
    more = len(rows) > query.limit
    rows = rows[: query.limit]
    return CollectionList(
        data=[_view(row) for row in rows], next_cursor=cursors.of_text(rows[-1].name) if more else None
    )


@router.get(
    "/{name}", operation_id="get_collection", summary="A collection and its size", responses=openapi.problems(404)
)
async def get_collection(name: str, request: Request, caller: Reader) -> CollectionDetail:
    services = services_of(request)
    row = await existing(services, caller, name)
    other = await collection_requests.rebuilding(services.database, caller.tenant, row.id)
    count, size = await asyncio.to_thread(
        lambda: (services.vectors.count(row.ref), services.vectors.size_bytes(row.ref))
    )
    rebuilding = Rebuilding(job=other[0], model=other[1]) if other else None
    return CollectionDetail(**_view(row).model_dump(), count=count, size_bytes=size, rebuilding=rebuilding)


@router.delete(
    "/{name}",
    operation_id="delete_collection",
    summary="Delete a collection: it is gone at once, and a job removes its items",
    status_code=202,
    response_class=Response,
    responses={**JOB_ANSWERS, **openapi.problems(404)},
    openapi_extra={"parameters": [PREFER]},
)
async def delete_collection(name: str, request: Request, caller: Writer) -> Response:
    services, seconds = services_of(request), preferences.wait_seconds(request)

    def job_for(row: CollectionRow) -> NewJob:
        input = DeleteCollectionInput(collection=row.name, collection_id=row.id)
        return _job(DELETE_COLLECTION, caller, input, max_attempts=DELETE_ATTEMPTS)

    job, accepted = await collection_requests.delete(services.database, caller.tenant, name, job_for)
    return await answer(services, request, caller, accepted, seconds, job)


@router.post(
    "/{name}/reembed",
    operation_id="reembed_collection",
    summary="Make a collection's vectors anew with another model; until then the old ones are searched",
    status_code=202,
    response_class=Response,
    responses={**JOB_ANSWERS, **openapi.problems(400, 404, 409, 415, 422)},
    openapi_extra={**openapi.json_body("ReembedRequest", {"model": "clip-vit-b-32"}), "parameters": [PREFER]},
)
async def reembed_collection(name: str, request: Request, caller: Writer) -> Response:
    if "jobs:write" not in caller.scopes:
        raise Forbidden("This needs the scope 'jobs:write' as well, which the key does not have.")
    services, seconds = services_of(request), preferences.wait_seconds(request)
    asked: ReembedRequest = validated(ReembedRequest, await read_json(request, services.settings.max_body_bytes))
    model = _model(services, asked.model).alias

    def job_for(row: CollectionRow) -> NewJob:
        input = ReembedInput(collection=row.name, collection_id=row.id, model=model, drop_failed=asked.drop_failed)
        return _job(REEMBED, caller, input, max_attempts=REEMBED_ATTEMPTS)

    job, accepted = await collection_requests.reembed(services.database, caller.tenant, name, job_for)
    return await answer(services, request, caller, accepted, seconds, job)


async def existing(services: Services, caller: Caller, name: str) -> CollectionRow:
    """Raises NotFound where the tenant has no collection of that name."""
    row = await _find(services, caller, name)
    if row is None:
        raise no_such_collection(name)
    return row


async def _find(services: Services, caller: Caller, name: str) -> CollectionRow | None:
    if "\0" in name:
        return None
    return await with_connection(services, lambda connection: collections.find(connection, caller.tenant, name))


def _model(services: Services, alias: str | None) -> ModelSpec:
    try:
        spec = services.registry.resolve(alias, "index")
    except InvalidInput as error:
        fault = FieldFault("model", error.message)
        raise InvalidInput(error.message, code=ErrorCode.MODEL_UNKNOWN, faults=(fault,)) from None
    if not spec.embeds:
        fault = FieldFault("model", f"{spec.alias} does not turn pictures into vectors; name another model")
        raise InvalidInput("The request is not valid.", faults=(fault,))
    return spec


def _as_asked(row: CollectionRow, asked: CollectionRequest) -> CollectionRow:
    """The row, if all that was asked for is so. Raises Conflict, naming every field that is not."""
    faults = tuple(
        FieldFault(field, f"is {getattr(row, field)!r} in the collection that is there")
        for field in ("model", "distance", "payload_schema")
        if getattr(asked, field) not in (None, getattr(row, field))
    )
    if faults:
        code = ErrorCode.MODEL_MISMATCH if faults[0].path == "model" else None
        named = ", ".join(fault.path for fault in faults)
        message = f"The collection {row.name!r} is there already, with another {named}."
        raise Conflict(message, code=code, faults=faults)
    return row


def _job(kind: JobKind[Any, Any], caller: Caller, input: Contract, *, max_attempts: int) -> NewJob:
    """A job of an internal kind, as its row will be."""
    return NewJob(
        id=new_id(),
        tenant=caller.tenant,
        key_id=caller.key_id,
        kind=kind.name,
        queue=kind.queue_for(input),
        batch_key=None,
        priority=PRIORITIES["normal"],
        input=input.model_dump_json(),
        metadata="{}",
        max_attempts=max_attempts,
        timeout_seconds=kind.default_timeout,
    )


def _view(row: CollectionRow) -> Collection:
    return Collection.model_validate(row, from_attributes=True)
