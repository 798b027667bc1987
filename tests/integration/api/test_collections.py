"""Collections and their items, over pgvector."""

from typing import Any

import httpx
import numpy as np
import pytest
from fastapi import FastAPI

from shared.vectors.protocol import CollectionRef, Point
from tests.integration.api.conftest import FakeWorker
from tests.integration.api.test_refusals import problem


async def filled(app: FastAPI, client: httpx.AsyncClient, worker: FakeWorker, name: str = "shoes") -> CollectionRef:
    """A collection with five items."""
    assert (await client.post("/v1/collections", json={"name": name})).status_code == 201
    ((id,),) = worker.rows("SELECT vectors_id FROM collections WHERE name = %s", name)
    ref = CollectionRef(id=id, dimension=256)
    points = [
        Point(id=f"sku/{n}", vector=np.eye(256, dtype=np.float32)[n], payload={"price": n, "tag": "é"}, text="x")
        for n in range(5)
    ]
    app.state.services.vectors.upsert(ref, points)
    return ref


async def test_a_collection_is_created_once(client: httpx.AsyncClient) -> None:
    first = await client.post("/v1/collections", json={"name": "shoes", "model": "clip-vit-b-32"})
    assert first.status_code == 201
    assert first.json() | {"created_at": None} == {
        "name": "shoes",
        "model": "clip-vit-b-32",
        "dimension": 512,
        "distance": "cosine",
        "payload_schema": None,
        "created_at": None,
    }
    assert (await client.post("/v1/collections", json={"name": "shoes"})).status_code == 200
    other = await client.post("/v1/collections", json={"name": "shoes", "model": "starter-clip"})
    problem(other, 409, "model_mismatch")


@pytest.mark.parametrize(
    ("body", "code", "path"),
    [
        ({"name": "a/b"}, "invalid_input", "name"),
        ({}, "invalid_input", "name"),
        ({"name": "a", "model": "gpt"}, "model_unknown", "model"),
        ({"name": "a", "size": 3}, "invalid_input", "size"),
    ],
)
async def test_a_wrong_collection_is_refused(client: httpx.AsyncClient, body: Any, code: str, path: str) -> None:
    answer = await client.post("/v1/collections", json=body)
    assert [error["path"] for error in problem(answer, 422, code)["errors"]] == [path]


async def test_a_collection_shows_its_size(app: FastAPI, client: httpx.AsyncClient, worker: FakeWorker) -> None:
    await filled(app, client, worker)
    shown = (await client.get("/v1/collections/shoes")).json()
    assert (shown["count"], shown["dimension"], shown["model"]) == (5, 256, "starter-clip")
    assert shown["size_bytes"] > 0
    problem(await client.get("/v1/collections/none"), 404, "not_found")
    problem(await client.get("/v1/collections/%00"), 404, "not_found")


async def test_collections_are_listed_in_pages(client: httpx.AsyncClient) -> None:
    for name in ("b", "c", "a"):
        await client.post("/v1/collections", json={"name": name})
    first = (await client.get("/v1/collections", params={"limit": "2"})).json()
    second = (await client.get("/v1/collections", params={"limit": "2", "cursor": first["next_cursor"]})).json()
    assert [row["name"] for row in first["data"] + second["data"]] == ["a", "b", "c"]
    assert second["next_cursor"] is None


async def test_typed_collections_and_what_they_refuse(client: httpx.AsyncClient) -> None:
    schema = {"price": "number", "size.eu": "number", "category": "keyword", "added": "datetime"}
    asked = {"name": "shoes", "distance": "euclidean", "payload_schema": schema}
    made = (await client.post("/v1/collections", json=asked)).json()
    assert (made["distance"], made["payload_schema"]) == ("euclidean", schema)
    for same in (asked, {"name": "shoes"}, {"name": "shoes", "payload_schema": None}):
        assert (await client.post("/v1/collections", json=same)).status_code == 200
    for field, other in (("distance", "dot"), ("payload_schema", {"price": "keyword"}), ("payload_schema", {})):
        answer = await client.post("/v1/collections", json={"name": "shoes", field: other})
        assert [error["path"] for error in problem(answer, 409, "conflict")["errors"]] == [field]
    wrong = {"name": "a", "payload_schema": {"price": "money", "a..b": "number"}}
    faults = problem(await client.post("/v1/collections", json=wrong), 422, "invalid_input")["errors"]
    assert {fault["path"] for fault in faults} == {"payload_schema.price", "payload_schema.a..b"}
    answer = await client.post("/v1/collections", json={"name": "a", "distance": "manhattan"})
    assert [error["path"] for error in problem(answer, 422, "invalid_input")["errors"]] == ["distance"]


async def test_payloads_of_the_wrong_type_are_refused_by_path(client: httpx.AsyncClient, worker: FakeWorker) -> None:
    await client.post("/v1/collections", json={"name": "shoes", "payload_schema": {"price": "number"}})
    items = [
        {"id": "a", "image": "https://example.com/a.png", "payload": {"price": 1, "more": "anything"}},
        {"id": "b", "image": "https://example.com/b.png", "payload": {"price": "cheap"}},
        {"id": "c", "image": "https://example.com/c.png", "payload": {"price": [1, True]}},
    ]
    answer = await client.post("/v1/index", json={"input": {"collection": "shoes", "items": items}})
    faults = problem(answer, 422, "invalid_input")["errors"]
    assert [fault["path"] for fault in faults] == ["input.items.1.payload.price", "input.items.2.payload.price.1"]
    batch = {"jobs": [{"kind": "index", "input": {"collection": "shoes", "items": items[1:2]}}]}
    faults = problem(await client.post("/v1/jobs/batch", json=batch), 422, "invalid_input")["errors"]
    assert [fault["path"] for fault in faults] == ["jobs.0.input.items.0.payload.price"]
    assert worker.rows("SELECT count(*) FROM jobs") == [(0,)]


async def test_items_are_listed_filtered_and_paged(app: FastAPI, client: httpx.AsyncClient, worker: FakeWorker) -> None:
    await filled(app, client, worker)
    path = "/v1/collections/shoes/items"
    cheap = (await client.get(path, params={"filter": '{"price": {"lt": 2}}'})).json()
    assert [item["id"] for item in cheap["data"]] == ["sku/0", "sku/1"]
    assert cheap["data"][0] == {"id": "sku/0", "payload": {"price": 0, "tag": "é"}, "text": "x", "vector": None}
    first = (await client.get(path, params={"limit": "3"})).json()
    second = (await client.get(path, params={"limit": "3", "cursor": first["next_cursor"]})).json()
    assert [item["id"] for item in first["data"] + second["data"]] == [f"sku/{n}" for n in range(5)]
    for parameters, where in (
        ({"filter": "{"}, "filter"),
        ({"filter": '{"price": {"above": 1}}'}, "filter.price.above"),
        ({"filter": r'{"name": "\u0000"}'}, "name"),
        ({"cursor": "a\0"}, "cursor"),
        ({"cursor": "sku/0"}, "cursor"),
        ({"cursor": "YWJj"}, "cursor"),
        ({"color": "red"}, "color"),
    ):
        answer = await client.get(path, params=parameters)
        assert [error["path"] for error in problem(answer, 422, "invalid_input")["errors"]] == [where]


async def test_an_item_is_read_and_deleted_by_id(app: FastAPI, client: httpx.AsyncClient, worker: FakeWorker) -> None:
    await filled(app, client, worker)
    path = "/v1/collections/shoes/items/sku%2F1"
    shown = (await client.get(path, params={"include_vectors": "true"})).json()
    assert (shown["id"], shown["vector"][1]) == ("sku/1", 1.0)
    assert (await client.delete(path)).status_code == 204
    problem(await client.get(path), 404, "not_found")
    problem(await client.get("/v1/collections/shoes/items/%00"), 404, "not_found")
    assert (await client.delete(path)).status_code == 204
    assert worker.rows("SELECT version > 0 FROM collections") == [(True,)]


async def test_a_submission_that_names_another_model_is_a_conflict(
    client: httpx.AsyncClient, worker: FakeWorker
) -> None:
    await client.post("/v1/collections", json={"name": "shoes"})
    search = {"collection": "shoes", "text": "a", "model": "clip-vit-b-32"}
    problem(await client.post("/v1/search", json={"input": search}), 409, "model_mismatch")
    item = {"id": "a", "image": "https://example.com/a.png"}
    index = {"collection": "shoes", "items": [item], "model": "clip-vit-b-32"}
    problem(await client.post("/v1/index", json={"input": index}), 409, "model_mismatch")
    assert worker.rows("SELECT count(*) FROM jobs") == [(0,)]
    same = search | {"model": "starter-clip"}
    assert (await client.post("/v1/search", json={"input": same})).status_code == 202
    elsewhere = search | {"collection": "new"}
    assert (await client.post("/v1/search", json={"input": elsewhere})).status_code == 202


async def test_models_are_listed(client: httpx.AsyncClient) -> None:
    listed = (await client.get("/v1/models")).json()["data"]
    starter = next(model for model in listed if model["alias"] == "starter-clip")
    assert starter["dimension"] == 256
    assert {"embed", "index", "search"} <= set(starter["default_for"])
    assert (await client.get("/v1/models/starter-clip")).json() == starter
    problem(await client.get("/v1/models/none"), 404, "not_found")
