"""`/v1/collections/{name}/items`: what a collection holds. Items come in by `index` jobs.

Writes hold the collection, as those of jobs do: it is not deleted, nor given other vectors, while they are under way.
"""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field, JsonValue, StringConstraints, model_validator

from api import cursors, openapi
from api.body import parse_json, read_json
from api.errors import Malformed
from api.intake.checks import payload_fault
from api.merge_patch import merged
from api.routes.collections import PageQuery, Reader, Writer, existing
from api.services import Services, services_of
from api.validation import validated
from shared.collection_requests import Held, held
from shared.collections import CollectionRow
from shared.contracts.common import MAX_TEXT_CHARACTERS, Contract, ItemId
from shared.errors import Conflict, FieldFault, InvalidInput, NotFound
from shared.jobs import control
from shared.vectors import filters
from shared.vectors.filter_nodes import AllOf, AnyOf, Filter, Not
from shared.vectors.payload_schema import check_payload
from shared.vectors.protocol import StoredPoint

router = APIRouter(prefix="/v1/collections/{name}/items", tags=["collections"])
MAX_IDS = 1_000
PATCH_TRIES = 5
"""How often a patch is applied anew to an item that was written to meanwhile."""
ALL_MEANT = 'has no condition that an item must meet, so it would delete them all; say {"all": true} if that is meant'


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


class ItemPatch(Contract):
    """A merge patch (RFC 7396) of an item: null takes a field away, an object is merged into the one that is there."""

    payload: dict[str, JsonValue] | None = None
    text: Annotated[str, StringConstraints(max_length=MAX_TEXT_CHARACTERS)] | None = None

    @model_validator(mode="after")
    def _something(self) -> "ItemPatch":
        if not self.model_fields_set:
            raise ValueError("give payload, text or both")
        return self


class ItemSelection(Contract):
    """Which items to delete: exactly one of these."""

    ids: Annotated[list[ItemId], Field(min_length=1, max_length=MAX_IDS)] | None = None
    filter: dict[str, JsonValue] | None = None
    """At least one condition."""
    all: bool = False

    @model_validator(mode="after")
    def _one_way(self) -> "ItemSelection":
        if self.filter == {} and not self.all:
            raise ValueError(f"filter {ALL_MEANT}")
        if (self.ids is not None) + bool(self.filter) + self.all != 1:
            raise ValueError("give exactly one of ids, filter, all")
        return self


class DeletedItems(BaseModel):
    deleted: int
    """Items that were there, as counted right before."""


@router.get("", operation_id="list_items", summary="Items, a page at a time", responses=openapi.problems(404, 422))
async def list_items(name: str, request: Request, caller: Reader, query: Annotated[ItemsQuery, Query()]) -> ItemList:
    services = services_of(request)
    after = cursors.to_text(query.cursor) if query.cursor is not None else None
    row = await existing(services, caller, name)
    wanted = _filter(query.filter, row)
    page = await asyncio.to_thread(
        lambda: services.vectors.list_items(
            row.ref, filter=wanted, limit=query.limit, cursor=after, with_vectors=query.include_vectors
        )
    )
    following = cursors.of_text(page.next_cursor) if page.next_cursor is not None else None
    return ItemList(data=[_view(point) for point in page.points], next_cursor=following)


@router.post(
    "/delete",
    operation_id="delete_items",
    summary="Delete items by id or by filter, also those that a job of before may still bring",
    responses=openapi.problems(400, 404, 415, 422),
    openapi_extra=openapi.json_body("ItemSelection", {"filter": {"price": {"lt": 10}}}),
)
async def delete_items(name: str, request: Request, caller: Writer) -> DeletedItems:
    services = services_of(request)
    asked: ItemSelection = validated(ItemSelection, await read_json(request, services.settings.max_body_bytes))
    async with held(services.database, caller.tenant, name) as collection:
        ref = collection.row.ref
        version = await control.next_seq(collection.connection)
        if asked.ids is not None:
            ids = asked.ids
            count = len(await asyncio.to_thread(lambda: services.vectors.get(ref, ids)))
            await asyncio.to_thread(lambda: services.vectors.delete(ref, ids, version=version))
        else:
            wanted = _chosen(asked.filter, collection.row) if asked.filter else AllOf(())
            count = await asyncio.to_thread(lambda: services.vectors.count(ref, filter=wanted))
            await asyncio.to_thread(lambda: services.vectors.delete_where(ref, wanted, version=version))
    return DeletedItems(deleted=count)


@router.get("/{item_id:path}", operation_id="get_item", summary="One item", responses=openapi.problems(404, 422))
async def get_item(
    name: str, item_id: str, request: Request, caller: Reader, query: Annotated[ItemQuery, Query()]
) -> Item:
    services = services_of(request)
    row = await existing(services, caller, name)
    return _view(await _item(services, row, item_id, with_vectors=query.include_vectors))


@router.patch(
    "/{item_id:path}",
    operation_id="patch_item",
    summary="Change an item's payload and text (JSON merge patch); its vector stays",
    responses=openapi.problems(400, 404, 409, 415, 422),
    openapi_extra=openapi.json_body("ItemPatch", {"payload": {"price": 35, "old": None}}),
)
async def patch_item(name: str, item_id: str, request: Request, caller: Writer) -> Item:
    services = services_of(request)
    raw = await read_json(request, services.settings.max_body_bytes)
    validated(ItemPatch, raw)
    if fault := payload_fault(raw.get("payload") or {}):
        raise InvalidInput("The request is not valid.", faults=(FieldFault("payload", fault),))
    async with held(services.database, caller.tenant, name) as collection:
        for _ in range(PATCH_TRIES):
            item = await _item(services, collection.row, item_id)
            if (changed := await _patched(services, collection, item, raw)) is not None:
                return changed
    raise Conflict(f"The item was written to {PATCH_TRIES} times meanwhile. Send the request again.", code="item_busy")


@router.delete(
    "/{item_id:path}",
    operation_id="delete_item",
    summary="Delete an item, also one that a job of before may still bring",
    status_code=204,
    responses=openapi.problems(404),
)
async def delete_item(name: str, item_id: str, request: Request, caller: Writer) -> None:
    services = services_of(request)
    async with held(services.database, caller.tenant, name) as collection:
        if not item_id or "\0" in item_id:
            return
        version = await control.next_seq(collection.connection)
        await asyncio.to_thread(lambda: services.vectors.delete(collection.row.ref, [item_id], version=version))


async def _item(services: Services, row: CollectionRow, item_id: str, *, with_vectors: bool = False) -> StoredPoint:
    """Raises NotFound."""
    found: dict[str, StoredPoint] = {}
    if "\0" not in item_id:
        found = await asyncio.to_thread(lambda: services.vectors.get(row.ref, [item_id], with_vectors=with_vectors))
    if item_id not in found:
        raise NotFound(f"There is no item {item_id[:128]!a} in this collection.")
    return found[item_id]


async def _patched(services: Services, collection: Held, item: StoredPoint, patch: dict[str, Any]) -> Item | None:
    """The item with the patch applied; None when somebody else has written it since it was read.

    Raises:
        InvalidInput: what comes out is too large, or not of the collection's types.
    """
    result = merged({"payload": item.payload, "text": item.text}, patch)
    payload, text = result.get("payload") or {}, result.get("text")
    faults = check_payload(payload, collection.row.payload_schema or {})
    if fault := payload_fault(payload):
        faults.append(FieldFault("payload", fault))
    if faults:
        raise InvalidInput("The item cannot be changed so.", faults=tuple(faults))
    version = await control.next_seq(collection.connection)
    replaced = await asyncio.to_thread(
        lambda: services.vectors.replace_payload(
            collection.row.ref, item.id, payload=payload, text=text, version=version, expected_version=item.version
        )
    )
    return Item(id=item.id, payload=payload, text=text) if replaced else None


def _chosen(raw: dict[str, Any], row: CollectionRow) -> Filter:
    """What to delete. Raises InvalidInput where that is everything by oversight: `{"and": [{}]}`."""
    wanted = filters.parse(raw, "filter", row.payload_schema)
    if _is_everything(wanted):
        raise InvalidInput("The request is not valid.", faults=(FieldFault("filter", ALL_MEANT),))
    return wanted


def _is_everything(filter: Filter) -> bool:
    """Whether it holds whatever an item is."""
    match filter:
        case AllOf(parts):
            return all(_is_everything(part) for part in parts)
        case AnyOf(parts):
            return any(_is_everything(part) for part in parts)
        case Not(Not(part)):
            return _is_everything(part)
        case _:
            return False


def _filter(text: str | None, row: CollectionRow) -> Filter | None:
    if text is None:
        return None
    try:
        raw = parse_json(text.encode())
    except Malformed as error:
        fault = FieldFault("filter", error.message)
        raise InvalidInput("The request is not valid.", faults=(fault,)) from None
    return filters.parse(raw, "filter", row.payload_schema)


def _view(point: StoredPoint) -> Item:
    vector = None if point.vector is None else point.vector.tolist()
    return Item(id=point.id, payload=point.payload, text=point.text, vector=vector)
