"""`/v1/tags`: pictures by what they show. `tag` jobs write them; tags are given and taken away by hand here."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, Field
from starlette.responses import Response, StreamingResponse

from api import openapi
from api.auth import Caller, needs
from api.body import read_json
from api.services import services_of
from api.tag_queries import MAX_ROW_ID, ExportQuery, StatisticsQuery, TagsQuery, cursor_of, position_of
from api.tag_views import TaggedImage, TaggedImageList, csv_header, csv_lines, json_lines, tagged_view
from api.validation import validated
from api.views import json_response
from shared.contracts.common import Contract
from shared.contracts.labels import Label
from shared.errors import FieldFault, InvalidInput, NotFound
from shared.tags import edits, paging, statistics
from shared.tags.paging import TaggedRow

router = APIRouter(prefix="/v1/tags", tags=["tags"])
Reader = Annotated[Caller, Depends(needs("jobs:read"))]
Writer = Annotated[Caller, Depends(needs("jobs:write"))]
ByHand = Annotated[list[Label], Field(max_length=edits.MAX_ADDED)]
PICTURE = {"model": TaggedImage, "description": "The picture"}


class TagsEdit(Contract):
    """Tags to give a picture by hand, and tags to take away from it. Both outlast tagging it again."""

    add: ByHand = []
    remove: ByHand = []


class TagCount(BaseModel):
    """How many pictures have a tag, and how sure it is on average. Tags given by hand count as 1."""

    tag: str
    count: int
    mean_score: float


class MonthCount(BaseModel):
    """How many pictures were taken in a month, such as `2024-05`."""

    month: str
    count: int


class Statistics(BaseModel):
    """Counts of pictures. `undated`: those that do not say when they were taken."""

    total: int
    tags: list[TagCount]
    months: list[MonthCount]
    undated: int


@dataclass(frozen=True)
class Format:
    """How an export is written."""

    media_type: str
    header: bytes
    lines: Callable[[list[TaggedRow]], bytes]


FORMATS = {
    "csv": Format("text/csv; charset=utf-8; header=present", csv_header(), csv_lines),
    "jsonl": Format("application/x-ndjson", b"", json_lines),
}


@router.get(
    "",
    operation_id="list_tagged_images",
    summary="Pictures by tag, score, date or path",
    response_class=Response,
    responses={200: {"model": TaggedImageList, "description": "A page of pictures"}, **openapi.problems(422)},
)
async def list_tagged_images(request: Request, caller: Reader, query: Annotated[TagsQuery, Query()]) -> Response:
    after = position_of(query.cursor, query.sort) if query.cursor is not None else None
    database, wanted = services_of(request).database, query.filter(caller.tenant)
    found = await paging.page(database, wanted, query.sort, after=after, limit=query.limit)
    following = cursor_of(query.sort, found.following) if found.following is not None else None
    return json_response({"data": [tagged_view(row) for row in found.rows], "next_cursor": following})


@router.get(
    "/statistics",
    operation_id="get_tag_statistics",
    summary="How often each tag is found, and when pictures were taken",
    responses=openapi.problems(422),
)
async def get_tag_statistics(
    request: Request, caller: Reader, query: Annotated[StatisticsQuery, Query()]
) -> Statistics:
    database, wanted = services_of(request).database, query.filter(caller.tenant)
    counted = await statistics.count(database, wanted, limit=query.limit, months_of=query.tag)
    return Statistics(
        total=counted.total,
        tags=[TagCount(**entry) for entry in counted.tags],
        months=[MonthCount(**entry) for entry in counted.months],
        undated=counted.undated,
    )


@router.get(
    "/export",
    operation_id="export_tags",
    summary="All pictures that the filter lets through, by path, as CSV or JSON lines",
    response_class=Response,
    responses={
        200: {
            "description": "A line a picture",
            "content": {
                "text/csv": {"schema": {"type": "string"}},
                "application/x-ndjson": {"schema": {"$ref": "#/components/schemas/TaggedImage"}},
            },
        },
        **openapi.problems(422),
    },
)
async def export_tags(request: Request, caller: Reader, query: Annotated[ExportQuery, Query()]) -> Response:
    form = FORMATS[query.format]
    pages = paging.pages(services_of(request).database, query.filter(caller.tenant))
    # Before the answer begins: what is wrong with the database is a problem still.
    first: list[TaggedRow] = await anext(pages, [])
    return StreamingResponse(
        _written(form, first, pages),
        media_type=form.media_type,
        headers={"Content-Disposition": f'attachment; filename="tags.{query.format}"'},
    )


@router.get(
    "/{id}",
    operation_id="get_tagged_image",
    summary="A picture and its tags",
    response_class=Response,
    responses={200: PICTURE, **openapi.problems(404)},
)
async def get_tagged_image(id: str, request: Request, caller: Reader) -> Response:
    row = await paging.find(services_of(request).database, caller.tenant, _row_id(id))
    return _shown(row, id)


@router.patch(
    "/{id}",
    operation_id="edit_tags",
    summary="Give a picture tags by hand and take others away; tagging it again changes neither",
    response_class=Response,
    responses={200: PICTURE, **openapi.problems(400, 404, 413, 415, 422)},
    openapi_extra=openapi.json_body("TagsEdit", {"add": ["grandma"], "remove": ["dog"]}),
)
async def edit_tags(id: str, request: Request, caller: Writer) -> Response:
    services = services_of(request)
    asked: TagsEdit = validated(TagsEdit, await read_json(request, services.settings.max_body_bytes))
    _check(asked)
    row = await edits.edit(services.database, caller.tenant, _row_id(id), add=asked.add, remove=asked.remove)
    return _shown(row, id)


@router.delete(
    "/{id}",
    operation_id="delete_tagged_image",
    summary="Forget a picture's tags, those by hand included; the picture itself stays",
    status_code=204,
    response_class=Response,
    responses={204: {"description": "They are gone"}, **openapi.problems(404)},
)
async def delete_tagged_image(id: str, request: Request, caller: Writer) -> Response:
    if not await edits.delete(services_of(request).database, caller.tenant, _row_id(id)):
        raise _none(id)
    return Response(status_code=204)


async def _written(
    form: Format, first: list[TaggedRow], following: AsyncIterator[list[TaggedRow]]
) -> AsyncIterator[bytes]:
    """One chunk a page. A client that hangs up ends this, and with it the reading."""
    yield form.header + form.lines(first)
    async for page in following:
        yield form.lines(page)


def _check(asked: TagsEdit) -> None:
    if not asked.add and not asked.remove:
        fault = FieldFault("add", "name a tag to add, or one to remove")
    elif both := sorted({*asked.add} & {*asked.remove}):
        fault = FieldFault("remove", f"{both[0]!a} is to be added as well; decide on one")
    else:
        return
    raise InvalidInput("The request is not valid.", faults=(fault,))


def _row_id(text: str) -> int:
    """Raises NotFound for what cannot be a row's id."""
    if not (text.isascii() and text.isdecimal() and len(text) <= 10 and int(text) <= MAX_ROW_ID):
        raise _none(text)
    return int(text)


def _shown(row: TaggedRow | None, id: str) -> Response:
    if row is None:
        raise _none(id)
    return json_response(tagged_view(row))


def _none(id: str) -> NotFound:
    return NotFound(f"There is no tagged picture {id[:80]!a}.")
