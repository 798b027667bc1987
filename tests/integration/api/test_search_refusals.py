"""Searches that are refused before they are jobs: each by the path of what is wrong, and with what to do."""

import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import orjson
import pytest

from tests.integration.api.conftest import FakeWorker
from tests.unit.workers.handlers.pictures import inline, png

SCHEMA = {"price": "number", "colour": "keyword", "sale": "boolean", "made": "datetime", "size.eu": "number"}
PART = {"text": "a cup"}


@pytest.fixture
def typed(worker: FakeWorker) -> Iterator[str]:
    """The name of a collection with a payload schema."""
    name, id = f"typed-{uuid.uuid4().hex[:8]}", uuid.uuid4()
    worker.connection.execute(
        "INSERT INTO collections (id, vectors_id, tenant, name, model, dimension, payload_schema)"
        " VALUES (%s, %s, 'default', %s, 'starter-clip', 256, %s)",
        (id, id, name, orjson.dumps(SCHEMA).decode()),
    )
    yield name
    worker.connection.execute("DELETE FROM collections WHERE id = %s", (id,))


def faults(answer: httpx.Response) -> dict[str, str]:
    assert answer.status_code == 422, answer.text[:1000]
    told = {error["path"]: error["message"] for error in answer.json()["errors"]}
    assert len(told) == len(answer.json()["errors"])  # each place is told of once
    return told


@pytest.mark.parametrize(
    ("input", "path", "says"),
    [
        ({}, "input", "give at least one of text, image, item, vector, query"),
        ({"query": [PART | {"weight": -1}]}, "input.query", "give at least one part a positive weight"),
        ({"query": [PART | {"weight": 0}, {"item": "a", "weight": 0}]}, "input.query", "no weight but 0"),
        ({"query": [PART, PART | {"item": "a"}]}, "input.query.1", "give exactly one of text, image, item, vector"),
        ({"query": [PART | {"weight": 1000}]}, "input.query.0.weight", "100"),
        ({"query": [PART] * 33}, "input.query", "32"),
        ({"query": [{"image": "cup.jpg"}]}, "input.query.0.image", "a picture is an http(s) URL"),
        ({"query": [{"image": "http://10.0.0.1/a.jpg"}]}, "input.query.0.image", "10.0.0.1"),
        ({"query": [PART, {"image": {"base64": "aGVsbG8="}}]}, "input.query.1.image", "not a picture"),
        ({"query": [{"image": {"file": "file_" + "a" * 26}}]}, "input.query.0.image", "there is no file"),
        ({"text_match": "SKU-1042"}, "input.text_match", "add a text, image, item, vector or query"),
        ({**PART, "text_match": "- !"}, "input.text_match", "no word"),
        ({**PART, "include_payload": [""]}, "input.include_payload", "entry 0 must be a dotted name"),
        ({**PART, "offset": 10_001}, "input.offset", "10000"),
        ({**PART, "filter": {"price": {"near": 3}}}, "input.filter.price.near", "is no operator"),
    ],
)
async def test_a_search_that_cannot_be_is_refused_at_its_path(
    client: httpx.AsyncClient, worker: FakeWorker, input: dict[str, Any], path: str, says: str
) -> None:
    answer = await client.post("/v1/search", json={"input": {"collection": "c"} | input})
    found = faults(answer)
    assert list(found) == [path]
    assert says in found[path]
    assert worker.rows("SELECT count(*) FROM jobs") == [(0,)]


@pytest.mark.parametrize(
    ("filter", "path"),
    [
        ({"color": "red"}, "color"),
        ({"size": 42}, "size"),
        ({"price": "cheap"}, "price"),
        ({"price": {"gte": "2026-01-31"}}, "price.gte"),
        ({"price": {"gte": "cheap"}}, "price.gte"),
        ({"sale": {"gt": 1}}, "sale.gt"),
        ({"made": "yesterday"}, "made"),
        ({"or": [{"price": 3}, {"not": {"colour": {"in": ["red", 7]}}}]}, "or.1.not.colour.in.1"),
    ],
)
async def test_a_filter_against_the_collections_schema_is_refused_at_its_path(
    client: httpx.AsyncClient, typed: str, filter: dict[str, Any], path: str
) -> None:
    job = {"input": {"collection": typed, **PART, "filter": filter}}
    assert list(faults(await client.post("/v1/search", json=job))) == [f"input.filter.{path}"]
    batch = {"jobs": [{"kind": "search", "input": {"collection": typed, **PART}}, {"kind": "search", **job}]}
    assert list(faults(await client.post("/v1/jobs/batch", json=batch))) == [f"jobs.1.input.filter.{path}"]


async def test_a_fault_is_told_once_with_and_without_the_schema(client: httpx.AsyncClient, typed: str) -> None:
    filter = {"color": "red", "price": {"near": 3}, "sale": None}
    answer = await client.post("/v1/search", json={"input": {"collection": typed, **PART, "filter": filter}})
    told = [error["path"] for error in answer.json()["errors"]]
    assert sorted(told) == ["input.filter.color", "input.filter.price.near", "input.filter.sale"]


async def test_a_filter_by_the_schema_and_any_one_without_a_schema_is_accepted(
    client: httpx.AsyncClient, typed: str
) -> None:
    filter = {"price": {"lt": 3}, "colour": {"in": ["red"]}, "made": {"gte": "2026-01-31"}, "size.eu": 42, "sale": True}
    for collection, asked in ((typed, filter), ("untyped", {"whatever": "x"})):
        job = {"input": {"collection": collection, **PART, "filter": asked}}
        assert (await client.post("/v1/search", json=job)).status_code == 202


async def test_inline_pictures_of_the_query_are_stored(client: httpx.AsyncClient) -> None:
    query = [PART, {"image": inline(png("red")), "weight": -0.5}]
    answer = await client.post("/v1/search", json={"input": {"collection": "c", "query": query}})
    assert answer.status_code == 202, answer.text
    shown = answer.json()["input"]["query"]
    assert shown[0] == PART
    assert shown[1]["weight"] == -0.5
    assert shown[1]["image"]["file"].startswith("file_")


async def test_a_batch_counts_the_parts_of_queries(client: httpx.AsyncClient) -> None:
    search = {"kind": "search", "input": {"collection": "c", "query": [PART] * 32}}
    found = faults(await client.post("/v1/jobs/batch", json={"jobs": [search] * 626}))
    assert "20032" in found["jobs"]
