"""Patching items and deleting many, over pgvector, beside jobs that write them and collections that go away."""

import asyncio
import json
import threading
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi import FastAPI

from api.services import Services
from shared.collections import CollectionRow, find
from shared.database.pool import connect
from shared.vectors.pgvector import PgVectorStore
from shared.vectors.protocol import CollectionRef, Point
from tests.integration.api.conftest import FakeWorker
from tests.integration.api.test_refusals import paths, problem
from tests.integration.workers.rig import until

ITEMS = "/v1/collections/shoes/items"


@pytest.fixture
async def shoes(client: httpx.AsyncClient, app: FastAPI, postgres_url: str) -> CollectionRow:
    """Five items; `price` is typed."""
    await client.post("/v1/collections", json={"name": "shoes", "payload_schema": {"price": "number"}})
    row = row_of(postgres_url)
    vectors = np.eye(row.dimension, dtype=np.float32)
    points = [
        Point(id=f"{n}", vector=vectors[n], payload={"price": n, "tags": {"a": 1, "b": 2}}, text="x", content_hash="h")
        for n in range(5)
    ]
    app.state.services.vectors.upsert(row.ref, points)
    return row


def row_of(url: str) -> CollectionRow:
    with connect(url) as connection:
        row = find(connection, "default", "shoes")
    assert row is not None
    return row


async def ids(client: httpx.AsyncClient) -> list[str]:
    return [item["id"] for item in (await client.get(ITEMS)).json()["data"]]


async def test_a_patch_merges_payload_and_text(
    app: FastAPI, client: httpx.AsyncClient, shoes: CollectionRow, postgres_url: str
) -> None:
    patch = {"payload": {"price": 40, "tags": {"a": None, "c": 3}, "new": [1]}, "text": "y"}
    answer = await client.patch(f"{ITEMS}/1", json=patch)
    expected = {"id": "1", "payload": {"price": 40, "tags": {"b": 2, "c": 3}, "new": [1]}, "text": "y", "vector": None}
    assert (answer.status_code, answer.json()) == (200, expected)
    shown = (await client.get(f"{ITEMS}/1", params={"include_vectors": "true"})).json()
    assert shown["vector"][1] == 1.0
    assert shown | {"vector": None} == expected
    stored = app.state.services.vectors.get(shoes.ref, ["1"])["1"]
    assert stored.content_hash is None, "an index job has to look at it again"
    assert row_of(postgres_url).version > shoes.version
    merge = {"Content-Type": "application/merge-patch+json"}
    answer = await client.patch(f"{ITEMS}/1", content=b'{"payload": null, "text": null}', headers=merge)
    assert (answer.json()["payload"], answer.json()["text"]) == ({}, None)


@pytest.mark.parametrize(
    ("patch", "where"),
    [
        ({"payload": {"price": "cheap"}}, ["payload.price"]),
        ({"payload": [1]}, ["payload"]),
        ({"payload": {"long": "x" * 20_000}}, ["payload"]),
        ({"payload": {"deep": json.loads("[" * 70 + "]" * 70)}}, ["payload"]),
        ({"text": 3}, ["text"]),
        ({"text": "x" * 10_001}, ["text"]),
        ({"vector": [1]}, ["vector"]),
        ({}, [""]),
        ([], [""]),
    ],
    ids=str,
)
async def test_a_patch_that_is_refused_changes_nothing(
    client: httpx.AsyncClient, shoes: CollectionRow, patch: Any, where: list[str]
) -> None:
    before = (await client.get(f"{ITEMS}/1")).json()
    answer = await client.patch(f"{ITEMS}/1", json=patch)
    problem(answer, 422, "invalid_input")
    assert paths(answer) == where
    assert (await client.get(f"{ITEMS}/1")).json() == before


async def test_what_is_not_there_is_not_patched(client: httpx.AsyncClient, shoes: CollectionRow) -> None:
    for path in (f"{ITEMS}/none", f"{ITEMS}/%00", "/v1/collections/none/items/1"):
        problem(await client.patch(path, json={"text": "y"}), 404, "not_found")


class Racing(PgVectorStore):
    """Somebody writes the item between the look and the patch, so many times."""

    races = 0

    def get(self, collection: CollectionRef, ids: Any, *, with_vectors: bool = False) -> Any:
        found = super().get(collection, ids, with_vectors=with_vectors)
        if self.races:
            self.races -= 1
            item = found["1"]
            payload = {**item.payload, "writes": item.payload.get("writes", 0) + 1}
            vector = np.eye(collection.dimension, dtype=np.float32)[9]
            self.upsert(collection, [Point("1", vector, payload=payload, version=item.version + 1)])
        return found


@pytest.mark.parametrize("races", [0, 1, 4, 5])
async def test_a_patch_beside_a_job_that_writes_the_item(
    app: FastAPI, client: httpx.AsyncClient, shoes: CollectionRow, races: int, worker: FakeWorker
) -> None:
    worker.rows("SELECT nextval(pg_get_serial_sequence('jobs', 'seq')) FROM generate_series(1, 50)")
    services: Services = app.state.services
    racing = services.__dict__["vectors"] = Racing(services.pool)
    racing.races = races
    answer = await client.patch(f"{ITEMS}/1", json={"payload": {"patched": True}})
    if races == 5:
        problem(answer, 409, "item_busy")
    shown = (await client.get(f"{ITEMS}/1", params={"include_vectors": "true"})).json()
    assert shown["payload"].get("writes", 0) == races, "nothing that was written is lost"
    assert shown["payload"].get("patched", False) == (races < 5)
    assert shown["vector"][9 if races else 1] == 1.0


async def test_items_are_deleted_by_id_by_filter_and_all(client: httpx.AsyncClient, shoes: CollectionRow) -> None:
    async def delete(**body: Any) -> Any:
        answer = await client.post(f"{ITEMS}/delete", json=body)
        return answer.json() if answer.status_code == 200 else paths(answer)

    assert await delete(ids=["0", "none"]) == {"deleted": 1}
    assert await delete(filter={"price": {"gte": 3}}) == {"deleted": 2}
    assert await ids(client) == ["1", "2"]
    assert await delete(filter={}) == [""]
    for everything in {"and": [{}]}, {"or": [{"price": 1}, {}]}, {"not": {"not": {"and": [{}, {}]}}}:
        assert await delete(filter=everything) == ["filter"]
    assert await delete(filter={"and": [{}, {"price": 9}]}) == {"deleted": 0}
    assert await delete() == [""]
    assert await delete(ids=["1"], all=True) == [""]
    assert await delete(filter={"price": 1}, all=True) == [""]
    assert await delete(ids=[]) == ["ids"]
    assert await delete(ids=[""]) == ["ids.0"]
    assert await delete(ids=["x"] * 1001) == ["ids"]
    assert await delete(filter={"colour": 1}) == ["filter.colour"]
    assert await delete(filter={"price": "cheap"}) == ["filter.price"]
    assert await ids(client) == ["1", "2"]
    assert await delete(filter={}, all=True) == {"deleted": 2}
    assert await delete(all=True) == {"deleted": 0}


async def test_a_job_submitted_before_does_not_bring_deleted_items_back(
    app: FastAPI, client: httpx.AsyncClient, shoes: CollectionRow, worker: FakeWorker
) -> None:
    await client.post("/v1/embed", json={"input": {"texts": ["x"]}})
    ((early,),) = worker.rows("SELECT seq FROM jobs")
    await client.post(f"{ITEMS}/delete", json={"filter": {"price": {"lt": 2}}})
    vector = np.eye(shoes.dimension, dtype=np.float32)[0]
    app.state.services.vectors.upsert(shoes.ref, [Point("0", vector, version=early)])
    assert await ids(client) == ["2", "3", "4"]


async def test_who_takes_the_collection_waits_for_a_write_and_finds_its_version_moved(
    app: FastAPI, client: httpx.AsyncClient, shoes: CollectionRow, postgres_url: str
) -> None:
    """As those do who delete it or give it other vectors; and the write does not wait for them."""
    versions: list[int] = []

    def take() -> None:
        with connect(postgres_url) as other:
            query = "SELECT version FROM collections WHERE id = %s FOR UPDATE"
            versions.extend(row[0] for row in other.execute(query, (shoes.id,)))

    taker = threading.Thread(target=take)

    class Slow(PgVectorStore):
        def delete(self, collection: CollectionRef, ids: Any, *, version: Any = None, fence: Any = None) -> None:
            taker.start()
            with connect(postgres_url) as looker:
                until(lambda: bool(looker.execute("SELECT 1 FROM pg_locks WHERE NOT granted").fetchone()))
            assert versions == []
            super().delete(collection, ids, version=version, fence=fence)

    services: Services = app.state.services
    before = row_of(postgres_url).version
    services.__dict__["vectors"] = Slow(services.pool)
    assert (await client.delete(f"{ITEMS}/1")).status_code == 204
    await asyncio.to_thread(taker.join, 5)
    assert versions == [before + 1]
