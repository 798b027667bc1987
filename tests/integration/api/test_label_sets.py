"""Label sets: kept by tenant and name, replaced whole, listed in pages."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.integration.api.conftest import FakeWorker
from tests.integration.api.test_refusals import problem

URL = "/v1/label-sets/party"


async def test_a_set_is_made_replaced_and_deleted(client: httpx.AsyncClient) -> None:
    made = await client.put(URL, json={"labels": ["Victory Day", " cat "]})
    assert made.status_code == 201
    assert made.headers["location"] == URL
    assert made.json() == (await client.get(URL)).json()
    assert (made.json()["labels"], made.json()["templates"]) == (["Victory Day", "cat"], ["a photo of a {}"])

    replaced = await client.put(URL, json={"labels": ["dog"], "templates": ["{}!", "a {}"]})
    assert replaced.status_code == 200
    assert "location" not in replaced.headers
    assert (replaced.json()["labels"], replaced.json()["templates"]) == (["dog"], ["{}!", "a {}"])
    assert replaced.json()["created_at"] == made.json()["created_at"]
    assert replaced.json()["updated_at"] > made.json()["updated_at"]

    assert (await client.delete(URL)).status_code == 204
    problem(await client.get(URL), 404, "not_found")
    problem(await client.delete(URL), 404, "not_found")
    problem(await client.get("/v1/label-sets/%00"), 404, "not_found")
    problem(await client.delete("/v1/label-sets/%00"), 404, "not_found")


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({"labels": []}, ["labels"]),
        ({}, ["labels"]),
        ({"labels": ["a", ""], "templates": ["none"]}, ["labels.1", "templates.0"]),
        ({"labels": ["Cat", "cat"]}, ["labels"]),
        ({"labels": [str(n) for n in range(10_000)]}, ["labels"]),
        ({"labels": ["a"], "name": "b"}, ["name"]),
        ({"labels": ["a\0b"]}, ["labels.0"]),
        ({"labels": [str(n) for n in range(1_000)], "templates": [f"{{}} {n}" for n in range(17)]}, ["templates"]),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_a_wrong_set_is_refused(
    client: httpx.AsyncClient, worker: FakeWorker, body: Any, where: list[str]
) -> None:
    answer = await client.put(URL, json=body)
    assert [error["path"] for error in problem(answer, 422, "invalid_input")["errors"]] == where
    assert worker.rows("SELECT count(*) FROM label_sets") == [(0,)]


@pytest.mark.parametrize("name", ["-a", "a b", "%00", "a" * 129, "é"])
async def test_a_wrong_name_is_refused(client: httpx.AsyncClient, name: str) -> None:
    answer = await client.put(f"/v1/label-sets/{name}", json={"labels": ["a"]})
    assert [error["path"] for error in problem(answer, 422, "invalid_input")["errors"]] == ["name"]


async def test_sets_are_listed_in_pages(client: httpx.AsyncClient) -> None:
    for name in ("b", "c", "a"):
        await client.put(f"/v1/label-sets/{name}", json={"labels": [name]})
    first = (await client.get("/v1/label-sets", params={"limit": "2"})).json()
    second = (await client.get("/v1/label-sets", params={"limit": "2", "cursor": first["next_cursor"]})).json()
    assert [row["name"] for row in first["data"] + second["data"]] == ["a", "b", "c"]
    assert second["next_cursor"] is None
    problem(await client.get("/v1/label-sets", params={"cursor": ""}), 422, "invalid_input")


async def test_a_page_ends_where_it_holds_enough(client: httpx.AsyncClient) -> None:
    """A thousand sets of the largest kind would be 800 MB."""
    labels = [f"{number:04}{'ж' * 190}" for number in range(1_000)]  # 384 bytes each
    names = [f"large-{number:02}" for number in range(24)]
    for name in names:
        assert (await client.put(f"/v1/label-sets/{name}", json={"labels": labels})).status_code == 201
    seen: list[str] = []
    params = {"limit": "1000"}
    while True:
        page = (await client.get("/v1/label-sets", params=params)).json()
        assert 1 <= len(page["data"]) <= 21
        seen += [one["name"] for one in page["data"]]
        if page["next_cursor"] is None:
            break
        params["cursor"] = page["next_cursor"]
    assert seen == names


async def test_tenants_are_kept_apart_and_scopes_hold(client: httpx.AsyncClient, make_key: Callable[..., str]) -> None:
    acme, other = ({"Authorization": make_key(tenant=tenant)} for tenant in ("acme", "other"))
    reader = {"Authorization": make_key("jobs:read", tenant="acme")}
    writer = {"Authorization": make_key("jobs:write", tenant="acme")}
    await client.put(URL, json={"labels": ["ours"]}, headers=acme)
    problem(await client.get(URL, headers=other), 404, "not_found")
    problem(await client.delete(URL, headers=other), 404, "not_found")
    assert (await client.put(URL, json={"labels": ["theirs"]}, headers=other)).status_code == 201
    assert (await client.get(URL, headers=reader)).json()["labels"] == ["ours"]
    assert len((await client.get("/v1/label-sets", headers=reader)).json()["data"]) == 1
    problem(await client.put(URL, json={"labels": ["a"]}, headers=reader), 403, "forbidden")
    problem(await client.delete(URL, headers=reader), 403, "forbidden")
    problem(await client.get(URL, headers=writer), 403, "forbidden")
