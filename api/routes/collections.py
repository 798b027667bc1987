"""`/v1/collections`: named sets of items, each pinned to the model that makes its vectors."""

import asyncio
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from api import cursors, openapi
from api.auth import Caller, needs
from api.body import read_json
from api.services import Services, services_of
from api.threads import with_connection
from api.validation import validated
from shared import collections
from shared.collections import CollectionRow
from shared.contracts.common import Alias, CollectionName, Contract
from shared.errors import Conflict, ErrorCode, FieldFault, InvalidInput, NotFound
from shared.model_registry import ModelSpec

router = APIRouter(prefix="/v1/collections", tags=["collections"])
Reader = Annotated[Caller, Depends(needs("jobs:read"))]
Writer = Annotated[Caller, Depends(needs("collections:write"))]


class CollectionRequest(Contract):
    """A collection to be."""

    name: CollectionName
    model: Alias | None = None
    """The default model of `index` jobs when absent."""


class Collection(BaseModel):
    """A collection; its model and dimension never change."""

    name: str
    model: str
    dimension: int
    created_at: datetime | None


class CollectionDetail(Collection):
    """A collection and how large it is."""

    count: int
    """Items."""
    size_bytes: int
    """An estimate, indexes included."""


class CollectionList(BaseModel):
    data: list[Collection]
    next_cursor: str | None


class PageQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")

    limit: Annotated[int, Field(ge=1, le=1000)] = 100
    cursor: str | None = None


@router.post(
    "",
    operation_id="create_collection",
    summary="Create a collection, or find it as it is",
    status_code=201,
    responses={200: {"model": Collection, "description": "It was there"}, **openapi.problems(400, 409, 415, 422)},
    openapi_extra=openapi.json_body("CollectionRequest", {"name": "shoes"}),
)
async def create_collection(request: Request, response: Response, caller: Writer) -> Collection:
    services = services_of(request)
    asked: CollectionRequest = validated(CollectionRequest, await read_json(request, services.settings.max_body_bytes))
    found = await _find(services, caller, asked.name)
    if found is not None:
        response.status_code = 200
        return _view(_same_model(found, asked))
    spec = _model(services, asked)
    row = await with_connection(
        services,
        lambda connection: collections.ensure(
            connection, caller.tenant, asked.name, model=spec.alias, dimension=spec.dimension or 0
        ),
    )
    await asyncio.to_thread(lambda: services.vectors.create_collection(row.ref))
    response.headers["Location"] = f"/v1/collections/{asked.name}"
    return _view(_same_model(row, asked))


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
    count, size = await asyncio.to_thread(
        lambda: (services.vectors.count(row.ref), services.vectors.size_bytes(row.ref))
    )
    return CollectionDetail(**_view(row).model_dump(), count=count, size_bytes=size)


@router.delete(
    "/{name}",
    operation_id="delete_collection",
    summary="Delete a collection with all its items",
    status_code=204,
    responses=openapi.problems(404),
)
async def delete_collection(name: str, request: Request, caller: Writer) -> None:
    services = services_of(request)
    row = await existing(services, caller, name)
    # Vectors first: what fails on the way can be asked for again. And once more, for what came in meanwhile.
    await asyncio.to_thread(lambda: services.vectors.drop_collection(row.ref))
    await with_connection(services, lambda connection: collections.delete(connection, row.id))
    await asyncio.to_thread(lambda: services.vectors.drop_collection(row.ref))


async def existing(services: Services, caller: Caller, name: str) -> CollectionRow:
    """Raises NotFound where the tenant has no collection of that name."""
    row = await _find(services, caller, name)
    if row is None:
        raise NotFound(f"There is no collection {name[:128]!a}.")
    return row


async def _find(services: Services, caller: Caller, name: str) -> CollectionRow | None:
    if "\0" in name:
        return None
    return await with_connection(services, lambda connection: collections.find(connection, caller.tenant, name))


def _model(services: Services, asked: CollectionRequest) -> ModelSpec:
    try:
        spec = services.registry.resolve(asked.model, "index")
    except InvalidInput as error:
        fault = FieldFault("model", error.message)
        raise InvalidInput(error.message, code=ErrorCode.MODEL_UNKNOWN, faults=(fault,)) from None
    if not spec.embeds:
        fault = FieldFault("model", f"{spec.alias} does not turn pictures into vectors; name another model")
        raise InvalidInput("The request is not valid.", faults=(fault,))
    return spec


def _same_model(row: CollectionRow, asked: CollectionRequest) -> CollectionRow:
    if asked.model not in (None, row.model):
        message = f"The collection {row.name!r} is there already, with the model {row.model!r}."
        raise Conflict(message, code=ErrorCode.MODEL_MISMATCH)
    return row


def _view(row: CollectionRow) -> Collection:
    return Collection(name=row.name, model=row.model, dimension=row.dimension, created_at=row.created_at)
