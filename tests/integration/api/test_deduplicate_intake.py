"""`POST /v1/deduplicate`: what is refused, by its path, and what becomes of what is not."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.fakes.images import encoded, quarters
from tests.integration.api.conftest import FakeWorker, Make, running
from tests.unit.workers.handlers.pictures import inline

URLS = ["https://example.com/1.jpg", "https://example.com/2.jpg"]


@pytest.fixture
async def client(make_settings: Make) -> AsyncIterator[httpx.AsyncClient]:
    async with running(make_settings(image_roots={"photos": "/srv/photos"})) as (_, client):
        yield client


@pytest.mark.parametrize(
    ("input", "path", "says"),
    [
        ({}, "input", "exactly one of"),
        ({"collection": "c", "images": URLS}, "input", "exactly one of"),
        ({"images": URLS[:1]}, "input.images", "at least 2"),
        ({"images": ["http://127.0.0.1/1.jpg", URLS[0]]}, "input.images.0", "127.0.0.1"),
        ({"collection": "c", "threshold": 16}, "input.threshold.perceptual", "15"),
        ({"collection": "c", "method": "semantic", "threshold": 2}, "input.threshold.semantic", "1"),
        ({"collection": "c", "method": "exact", "threshold": 1}, "input.threshold", "exact copies"),
        ({"collection": "c", "method": ["exact", "looks"]}, "input.method.1", "'perceptual'"),
        ({"collection": "c", "filter": {"price": {"over": 1}}}, "input.filter.price.over", ""),
        ({"directory": "photos", "filter": {"price": 1}}, "input.filter", "collection"),
        ({"directory": "etc"}, "input.directory", "Known roots: photos"),
        ({"directory": "photos/../etc"}, "input.directory", ".."),
        ({"images": URLS, "method": "semantic", "model": "nobody"}, "input.model", "no model 'nobody'"),
        ({"collection": "c", "method": "semantic", "model": "resnet18"}, "input.model", "leave it out"),
    ],
    ids=str,
)
async def test_a_refusal_names_its_path(
    client: httpx.AsyncClient, worker: FakeWorker, input: dict[str, Any], path: str, says: str
) -> None:
    before = worker.rows("SELECT count(*) FROM jobs")
    answer = await client.post("/v1/deduplicate", json={"input": input})
    assert answer.status_code == 422, answer.text
    found = {error["path"]: error["message"] for error in answer.json()["errors"]}
    assert set(found) == {path}
    assert says in found[path]
    assert worker.rows("SELECT count(*) FROM jobs") == before


async def test_inline_pictures_become_files(client: httpx.AsyncClient) -> None:
    images = [inline(encoded(quarters(width, 20), "PNG")) for width in (20, 30)]
    answer = await client.post("/v1/deduplicate", json={"input": {"images": images}})
    assert answer.status_code == 202, answer.text
    assert [set(image) for image in answer.json()["input"]["images"]] == [{"file"}, {"file"}]


async def test_what_becomes_of_copies_is_one_of_three(client: httpx.AsyncClient) -> None:
    items = [{"id": "a", "image": URLS[0]}]
    input = {"collection": "c", "items": items, "on_duplicate": "forget"}
    answer = await client.post("/v1/index", json={"input": input})
    assert [error["path"] for error in answer.json()["errors"]] == ["input.on_duplicate"]
