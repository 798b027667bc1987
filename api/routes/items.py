"""`/v1/collections/{name}/items`: what a collection holds. Items come in by `index` jobs."""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel

from api import cursors, openapi
from api.body import parse_json
from api.errors import Malformed
from api.routes.collections import PageQuery, Reader, Writer, existing
from api.services import services_of
from shared.errors import FieldFault, InvalidInput, NotFound
from shared.jobs import control
from shared.vectors import filters
from shared.vectors.filter_nodes import Filter
from shared.vectors.protocol import StoredPoint

router = APIRouter(prefix="/v1/collections/{name}/items", tags=["collections"])


class Item(BaseModel):
    """An item of a collection. `vector`: unit length, only where it was asked for."""

    id: str
    payload: dict[str, Any]
    text: str | None
    vector: list[float] | None = None


class ItemList(BaseModel):
    data: list[Item]
    next_cursor: str | None


class ItemsQuery(PageQuery):
    """`filter`: the filter language of searches, as JSON."""

    filter: str | None = None
    include_vectors: bool = False


class ItemQuery(BaseModel):
    model_config = PageQuery.model_config

    include_vectors: bool = False


@router.get("", operation_id="list_items", summary="Items, a page at a time", responses=openapi.problems(404, 422))
async def list_items(name: str, request: Request, caller: Reader, query: Annotated[ItemsQuery, Query()]) -> ItemList:
    services = services_of(request)
    wanted = _filter(query.filter)
    after = cursors.to_text(query.cursor) if query.cursor is not None else None
    row = await existing(services, caller, name)
    page = await asyncio.to_thread(
        lambda: services.vectors.list_items(
            row.ref, filter=wanted, limit=query.limit, cursor=after, with_vectors=query.include_vectors
        )
    )
    following = cursors.of_text(page.next_cursor) if page.next_cursor is not None else None
    return ItemList(data=[_view(point) for point in page.points], next_cursor=following)


@router.get("/{item_id:path}", operation_id="get_item", summary="One item", responses=openapi.problems(404, 422))
async def get_item(
    name: str, item_id: str, request: Request, caller: Reader, query: Annotated[ItemQuery, Query()]
) -> Item:
    services = services_of(request)
    row = await existing(services, caller, name)
    found: dict[str, StoredPoint] = {}
    if "\0" not in item_id:
        found = await asyncio.to_thread(
            lambda: services.vectors.get(row.ref, [item_id], with_vectors=query.include_vectors)
        )
    if item_id not in found:
        raise NotFound(f"There is no item {item_id[:128]!a} in this collection.")
    return _view(found[item_id])


@router.delete(
    "/{item_id:path}",
    operation_id="delete_item",
    summary="Delete an item, also one that a job of before may still bring",
    status_code=204,
    responses=openapi.problems(404),
)
async def delete_item(name: str, item_id: str, request: Request, caller: Writer) -> None:
    services = services_of(request)
    row = await existing(services, caller, name)
    if not item_id or "\0" in item_id:
        return
    version = await control.next_seq(services.database)
    await asyncio.to_thread(lambda: services.vectors.delete(row.ref, [item_id], version=version))


def _filter(text: str | None) -> Filter | None:
    if text is None:
        return None
    try:
        raw = parse_json(text.encode())
    except Malformed as error:
        fault = FieldFault("filter", error.message)
        raise InvalidInput("The request is not valid.", faults=(fault,)) from None
    return filters.parse(raw, "filter")


def _view(point: StoredPoint) -> Item:
    vector = None if point.vector is None else point.vector.tolist()
    return Item(id=point.id, payload=point.payload, text=point.text, vector=vector)
