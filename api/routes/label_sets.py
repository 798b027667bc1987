"""`/v1/label-sets`: labels under a name, for `tag` jobs to name instead of listing them."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel, TypeAdapter, ValidationError, ValidationInfo, field_validator

from api import cursors, openapi
from api.auth import Caller, needs
from api.body import read_json
from api.routes.collections import PageQuery
from api.services import services_of
from api.validation import faults_of, validated
from shared import label_sets
from shared.contracts.common import Contract
from shared.contracts.labels import DEFAULT_TEMPLATES, Labels, LabelSetName, Templates, check_prompts
from shared.errors import InvalidInput, NotFound
from shared.label_sets import LabelSetRow

router = APIRouter(prefix="/v1/label-sets", tags=["tags"])
Reader = Annotated[Caller, Depends(needs("jobs:read"))]
Writer = Annotated[Caller, Depends(needs("jobs:write"))]
_NAME: TypeAdapter[str] = TypeAdapter(LabelSetName)
EXAMPLE = {"labels": ["wedding", "birthday", "funeral"], "templates": ["a photo of a {}", "a picture taken at a {}"]}


class LabelSetRequest(Contract):
    """What a label set is to hold."""

    labels: Labels
    templates: Templates = list(DEFAULT_TEMPLATES)
    """Each takes the label at `{}`; the vectors of a label's prompts are averaged."""

    @field_validator("templates")
    @classmethod
    def _not_too_many_prompts(cls, value: list[str], info: ValidationInfo) -> list[str]:
        check_prompts(len(info.data.get("labels", ())), len(value))
        return value


class LabelSet(BaseModel):
    """Labels under a name, and the templates that make prompts of them."""

    name: str
    labels: list[str]
    templates: list[str]
    created_at: datetime
    updated_at: datetime


class LabelSetList(BaseModel):
    data: list[LabelSet]
    next_cursor: str | None


@router.put(
    "/{name}",
    operation_id="put_label_set",
    summary="Create a label set, or replace what it holds",
    responses={201: {"model": LabelSet, "description": "It is new"}, **openapi.problems(400, 413, 415, 422)},
    openapi_extra=openapi.json_body("LabelSetRequest", EXAMPLE),
)
async def put_label_set(name: str, request: Request, response: Response, caller: Writer) -> LabelSet:
    services = services_of(request)
    _check_name(name)
    body = await read_json(request, services.settings.max_body_bytes)
    asked: LabelSetRequest = validated(LabelSetRequest, body)
    row, is_new = await label_sets.put(
        services.database, caller.tenant, name, labels=asked.labels, templates=asked.templates
    )
    if is_new:
        response.status_code = 201
        response.headers["Location"] = f"/v1/label-sets/{name}"
    return _view(row)


@router.get("", operation_id="list_label_sets", summary="Label sets, by name", responses=openapi.problems(422))
async def list_label_sets(request: Request, caller: Reader, query: Annotated[PageQuery, Query()]) -> LabelSetList:
    after = cursors.to_text(query.cursor) if query.cursor is not None else None
    database = services_of(request).database
    rows, more = await label_sets.page(database, caller.tenant, after=after, limit=query.limit)
    return LabelSetList(data=[_view(row) for row in rows], next_cursor=cursors.of_text(rows[-1].name) if more else None)


@router.get("/{name}", operation_id="get_label_set", summary="A label set", responses=openapi.problems(404))
async def get_label_set(name: str, request: Request, caller: Reader) -> LabelSet:
    row = None if "\0" in name else await label_sets.find(services_of(request).database, caller.tenant, name)
    if row is None:
        raise _none(name)
    return _view(row)


@router.delete(
    "/{name}",
    operation_id="delete_label_set",
    summary="Delete a label set; jobs that were submitted with it keep its labels",
    status_code=204,
    responses=openapi.problems(404),
)
async def delete_label_set(name: str, request: Request, caller: Writer) -> None:
    if "\0" in name or not await label_sets.delete(services_of(request).database, caller.tenant, name):
        raise _none(name)


def _check_name(name: str) -> None:
    try:
        _NAME.validate_python(name)
    except ValidationError as error:
        raise InvalidInput("The request is not valid.", faults=faults_of(error.errors(), prefix="name")) from None


def _none(name: str) -> NotFound:
    return NotFound(f"There is no label set {name[:128]!a}.")


def _view(row: LabelSetRow) -> LabelSet:
    return LabelSet(
        name=row.name,
        labels=row.labels,
        templates=row.templates,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )
