"""`/v1/keys`: make, list and revoke keys of any tenant; for operators."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, Field, StringConstraints

from api import cursors, openapi
from api.auth import Caller, needs
from api.body import read_json
from api.routes.collections import PageQuery
from api.services import services_of
from api.threads import with_connection
from api.validation import validated
from shared import keys
from shared.contracts.common import Contract
from shared.errors import NotFound
from shared.keys import KeyRow

router = APIRouter(prefix="/v1/keys", tags=["operators"])
Operator = Annotated[Caller, Depends(needs("admin"))]
MAX_LIFE_SECONDS = 10 * 366 * 86_400


class KeyRequest(Contract):
    """A key to be."""

    tenant: str | None = None
    """The caller's own tenant when absent."""
    name: Annotated[str, StringConstraints(max_length=128)] = ""
    scopes: list[str] = ["jobs:write", "jobs:read"]
    expires_in_seconds: Annotated[float, Field(gt=0, le=MAX_LIFE_SECONDS)] | None = None


class Key(BaseModel):
    """A key without its secret."""

    id: str
    tenant: str
    name: str
    scopes: list[str]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None


class NewKey(Key):
    """A key that was just made; `token` is shown this once."""

    token: str


class KeyList(BaseModel):
    data: list[Key]
    next_cursor: str | None


class KeysQuery(PageQuery):
    tenant: str | None = None


@router.post(
    "",
    operation_id="create_key",
    summary="Make a key; its token is shown this once",
    status_code=201,
    responses=openapi.problems(400, 415, 422),
    openapi_extra=openapi.json_body("KeyRequest", {"tenant": "acme", "scopes": ["jobs:write", "jobs:read"]}),
)
async def create_key(request: Request, caller: Operator) -> NewKey:
    services = services_of(request)
    asked: KeyRequest = validated(KeyRequest, await read_json(request, services.settings.max_body_bytes))
    server_key = services.settings.secret_key.get_secret_value()
    made = await with_connection(
        services,
        lambda connection: keys.create(
            connection,
            server_key,
            tenant=asked.tenant if asked.tenant is not None else caller.tenant,
            scopes=asked.scopes,
            name=asked.name,
            expires_in=asked.expires_in_seconds,
        ),
    )
    return NewKey(**_view(made.row).model_dump(), token=made.token)


@router.get("", operation_id="list_keys", summary="Keys, revoked ones included", responses=openapi.problems(422))
async def list_keys(request: Request, caller: Operator, query: Annotated[KeysQuery, Query()]) -> KeyList:
    after = cursors.to_text(query.cursor) if query.cursor else None
    rows = await with_connection(
        services_of(request),
        lambda connection: keys.listed(connection, tenant=query.tenant, after=after, limit=query.limit + 1),
    )
    more = len(rows) > query.limit
    rows = rows[: query.limit]
    return KeyList(data=[_view(row) for row in rows], next_cursor=cursors.of_text(rows[-1].id) if more else None)


@router.delete("/{key_id}", operation_id="revoke_key", summary="Revoke a key for good", responses=openapi.problems(404))
async def revoke_key(key_id: str, request: Request, caller: Operator) -> Key:
    services = services_of(request)
    row = None
    if "\0" not in key_id:
        row = await with_connection(services, lambda connection: keys.revoke(connection, key_id))
    if row is None:
        raise NotFound(f"There is no key {key_id[:80]!a}.")
    services.authenticator.forget(key_id)
    return _view(row)


def _view(row: KeyRow) -> Key:
    return Key(
        id=row.id,
        tenant=row.tenant,
        name=row.name,
        scopes=row.scopes,
        created_at=row.created_at,
        expires_at=row.expires_at,
        last_used_at=row.last_used_at,
        revoked_at=row.revoked_at,
    )
