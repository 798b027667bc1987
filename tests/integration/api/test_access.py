"""Keys, scopes and tenants."""

import asyncio
from collections.abc import Callable

import httpx
import pytest

from api import auth
from tests.integration.api.conftest import FakeWorker, Make, running, submit
from tests.integration.api.test_refusals import problem

MakeKey = Callable[..., str]
BODY = {"input": {}}


async def test_without_a_key_requests_act_for_the_anonymous_tenant(
    client: httpx.AsyncClient, worker: FakeWorker
) -> None:
    await submit(client)
    assert worker.rows("SELECT tenant, key_id FROM jobs") == [("default", None)]


async def test_a_key_is_needed_unless_anonymous_access_is_on(make_settings: Make) -> None:
    async with running(make_settings(anonymous_access=False)) as (_, client):
        answer = await client.post("/v1/noop", json=BODY)
        problem(answer, 401, "unauthorized")
        assert answer.headers["www-authenticate"].startswith("Bearer")
        for open_path in ("/health/live", "/health/ready", "/metrics", "/openapi.json", "/docs"):
            assert (await client.get(open_path)).status_code == 200


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Bearer x",
        "Basic abc",
        "Bearer dr_0123456789abcdef_short",
        "dr_x",
        f"Bearer dr_{'0' * 16}_{'A' * 43}",
    ],
)
async def test_a_wrong_key_is_refused_even_where_none_is_needed(client: httpx.AsyncClient, header: str) -> None:
    problem(await client.post("/v1/noop", json=BODY, headers={"Authorization": header}), 401, "unauthorized")


async def test_a_key_works_and_its_use_is_noted(
    client: httpx.AsyncClient, worker: FakeWorker, make_key: MakeKey
) -> None:
    key = make_key()
    headers = {"Authorization": key}
    for _ in range(3):
        assert (await client.post("/v1/noop", json=BODY, headers=headers)).status_code == 202
    tampered = key[:-1] + ("A" if key[-1] != "A" else "B")
    problem(await client.get("/v1/jobs", headers={"Authorization": tampered}), 401, "unauthorized")
    await asyncio.sleep(0.2)
    assert worker.rows("SELECT tenant, last_used_at IS NOT NULL FROM api_keys") == [("acme", True)]
    assert worker.rows("SELECT DISTINCT tenant, key_id FROM jobs") == [("acme", key.split("_")[1])]


async def test_a_secret_is_stored_as_a_keyed_hash_only(worker: FakeWorker, make_key: MakeKey) -> None:
    secret = make_key().split("_", 2)[2]
    ((row,),) = worker.rows("SELECT to_jsonb(api_keys)::text FROM api_keys")
    assert secret not in row


async def test_an_expired_key_is_refused(client: httpx.AsyncClient, make_key: MakeKey) -> None:
    headers = {"Authorization": make_key(expires_in=1.0)}
    assert (await client.get("/v1/jobs", headers=headers)).status_code == 200
    await asyncio.sleep(1.1)
    problem(await client.get("/v1/jobs", headers=headers), 401, "unauthorized")


async def test_a_missing_scope_is_named(client: httpx.AsyncClient, make_key: MakeKey) -> None:
    reader = {"Authorization": make_key("jobs:read")}
    for method, path, scope in (
        ("POST", "/v1/noop", "jobs:write"),
        ("POST", "/v1/jobs/batch", "jobs:write"),
        ("POST", f"/v1/jobs/{'0' * 32}/cancel", "jobs:write"),
        ("DELETE", f"/v1/jobs/{'0' * 32}", "jobs:write"),
        ("POST", "/v1/collections", "collections:write"),
        ("DELETE", "/v1/collections/a/items/b", "collections:write"),
        ("GET", "/v1/keys", "admin"),
        ("POST", "/v1/queues/noop/pause", "admin"),
    ):
        answer = await client.request(method, path, headers=reader, json={})
        assert scope in problem(answer, 403, "forbidden")["detail"]
    writer = {"Authorization": make_key("jobs:write")}
    problem(await client.get("/v1/jobs", headers=writer), 403, "forbidden")


async def test_another_tenants_things_are_not_there(client: httpx.AsyncClient, make_key: MakeKey) -> None:
    scopes = ("jobs:read", "jobs:write", "collections:write")
    mine = {"Authorization": make_key(*scopes, tenant="acme")}
    theirs = {"Authorization": make_key(*scopes, tenant="other")}
    job = (await client.post("/v1/noop", json=BODY, headers=mine)).json()
    for method, path in (("GET", ""), ("POST", "/cancel"), ("POST", "/retry"), ("DELETE", "")):
        problem(await client.request(method, f"/v1/jobs/{job['id']}{path}", headers=theirs), 404, "not_found")
    assert (await client.get("/v1/jobs", headers=theirs)).json()["data"] == []
    await client.post("/v1/collections", json={"name": "shoes"}, headers=mine)
    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/items"), ("GET", "/items/a"), ("DELETE", "/items/a")):
        answer = await client.request(method, f"/v1/collections/shoes{path}", headers=theirs)
        problem(answer, 404, "not_found")
    assert (await client.get("/v1/collections", headers=theirs)).json()["data"] == []
    assert (await client.get(f"/v1/jobs/{job['id']}", headers=mine)).json()["status"] == "queued"


async def test_operators_make_list_and_revoke_keys(client: httpx.AsyncClient, make_key: MakeKey) -> None:
    admin = {"Authorization": make_key("admin", tenant="operators")}
    body = {"tenant": "acme", "name": "shop", "scopes": ["jobs:read"], "expires_in_seconds": 3600}
    answer = await client.post("/v1/keys", json=body, headers=admin)
    assert answer.status_code == 201
    made = answer.json()
    theirs = {"Authorization": f"Bearer {made['token']}"}
    assert (await client.get("/v1/jobs", headers=theirs)).status_code == 200
    listed = (await client.get("/v1/keys", params={"tenant": "acme"}, headers=admin)).json()["data"]
    assert [(key["id"], key["name"], key["scopes"]) for key in listed] == [(made["id"], "shop", ["jobs:read"])]
    assert "token" not in listed[0]
    assert (await client.delete(f"/v1/keys/{made['id']}", headers=admin)).json()["revoked_at"] is not None
    problem(await client.get("/v1/jobs", headers=theirs), 401, "unauthorized")
    problem(await client.delete("/v1/keys/none", headers=admin), 404, "not_found")
    wrong = await client.post("/v1/keys", json={"tenant": "../x", "scopes": ["all"]}, headers=admin)
    assert [error["path"] for error in problem(wrong, 422, "invalid_input")["errors"]] == ["tenant", "scopes"]


async def test_keys_are_listed_in_pages(client: httpx.AsyncClient, make_key: MakeKey) -> None:
    admin = {"Authorization": make_key("admin")}
    for _ in range(4):
        make_key()
    seen, cursor = [], None
    while True:
        parameters = {"limit": "2"} | ({"cursor": cursor} if cursor else {})
        page = (await client.get("/v1/keys", params=parameters, headers=admin)).json()
        seen += [key["id"] for key in page["data"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert len(seen) == len(set(seen)) == 5


async def test_a_key_revoked_elsewhere_stops_working_within_seconds(
    client: httpx.AsyncClient, worker: FakeWorker, make_key: MakeKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auth, "CACHE_SECONDS", 0.3)
    headers = {"Authorization": make_key()}
    assert (await client.get("/v1/jobs", headers=headers)).status_code == 200
    worker.connection.execute("UPDATE api_keys SET revoked_at = now()")
    assert (await client.get("/v1/jobs", headers=headers)).status_code == 200
    await asyncio.sleep(0.35)
    problem(await client.get("/v1/jobs", headers=headers), 401, "unauthorized")
