"""`POST /v1/tag`: what is refused by its path, and label sets that become labels."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from api.intake.label_sets import MAX_ADDED_CHARACTERS
from shared.contracts.tag import DEFAULT_LABELS
from tests.integration.api.conftest import FakeWorker, Make, running

URL = "https://example.com/1.jpg"


@pytest.fixture
async def client(make_settings: Make) -> AsyncIterator[httpx.AsyncClient]:
    settings = make_settings(image_roots={"photos": "/srv/photos", "own": "/srv/{tenant}"})
    async with running(settings) as (_, client):
        yield client


def faults(answer: httpx.Response) -> dict[str, str]:
    assert answer.status_code == 422, answer.text
    return {error["path"]: error["message"] for error in answer.json()["errors"]}


async def put_set(client: httpx.AsyncClient, name: str, **body: Any) -> None:
    answer = await client.put(f"/v1/label-sets/{name}", json=body)
    assert answer.status_code in (200, 201), answer.text


@pytest.mark.parametrize(
    ("input", "path", "says"),
    [
        ({"images": [URL], "model": "resnet18"}, "input.model", "reads no text"),
        ({"images": [URL], "model": "nobody"}, "input.model", "no model 'nobody'"),
        ({"directory": "etc"}, "input.directory", "Known roots: own, photos"),
        ({"directory": "photos/../etc"}, "input.directory", ".."),
        ({"directory": "/srv/photos"}, "input.directory", "absolute"),
        ({"directory": "photos\\a"}, "input.directory", "backslash"),
        ({"images": [URL], "label_set": "nobody"}, "input.label_set", "no label set 'nobody'"),
        ({"images": [URL], "labels": ["a", "a "]}, "input.labels", "once"),
        ({"images": [URL], "labels": ["a"], "top_k": 2}, "input.top_k", "more than the 1 labels"),
        ({"images": ["http://127.0.0.1/1.jpg"]}, "input.images.0", "127.0.0.1"),
        ({}, "input", "images or directory"),
    ],
)
async def test_a_refusal_names_its_path(
    client: httpx.AsyncClient, worker: FakeWorker, input: dict[str, Any], path: str, says: str
) -> None:
    found = faults(await client.post("/v1/tag", json={"input": input}))
    assert list(found) == [path]
    assert says in found[path]
    assert worker.rows("SELECT count(*) FROM jobs") == [(0,)]


async def test_a_job_shows_its_model_and_waits_in_its_queue(client: httpx.AsyncClient, worker: FakeWorker) -> None:
    job = (await client.post("/v1/tag", json={"input": {"images": [URL]}})).json()
    assert job["input"] == {"images": [URL], "model": "starter-clip"}
    await client.post("/v1/tag", json={"input": {"directory": "photos/2024"}})
    found = worker.rows("SELECT queue, batch_key, timeout_seconds FROM jobs ORDER BY seq")
    assert found == [("tag", "tag:starter-clip", 3600.0), ("clip_batch", None, 3600.0)]


async def test_a_label_set_becomes_its_labels(client: httpx.AsyncClient) -> None:
    await put_set(client, "pets", labels=["cat", "dog"], templates=["a {}", "the {}"])
    body = {"input": {"images": [URL], "label_set": "pets"}}
    job = (await client.post("/v1/tag", json=body)).json()
    expected = {"images": [URL], "labels": ["cat", "dog"], "template": ["a {}", "the {}"], "model": "starter-clip"}
    assert job["input"] == expected
    own = (await client.post("/v1/tag", json={"input": {**body["input"], "template": "{}"}})).json()
    assert own["input"] == {**expected, "template": "{}"}


async def test_top_k_is_held_against_the_sets_labels(client: httpx.AsyncClient) -> None:
    await put_set(client, "pets", labels=["cat", "dog"])
    await put_set(client, "many", labels=[str(number) for number in range(30)])
    body = {"input": {"images": [URL], "label_set": "pets", "top_k": 3}}
    assert "more than the 2 labels" in faults(await client.post("/v1/tag", json=body))["input.top_k"]
    body["input"] |= {"label_set": "many", "top_k": len(DEFAULT_LABELS) + 1}
    assert (await client.post("/v1/tag", json=body)).status_code == 202


async def test_in_a_batch_each_fault_has_its_place(client: httpx.AsyncClient) -> None:
    await put_set(client, "pets", labels=["cat", "dog"])
    jobs = [
        {"kind": "tag", "input": {"images": [URL], "label_set": "pets"}},
        {"kind": "tag", "input": {"images": [URL], "label_set": "pets", "top_k": 9}},
        {"kind": "tag", "input": {"directory": "nobody"}},
    ]
    found = faults(await client.post("/v1/jobs/batch", json={"jobs": jobs}))
    assert list(found) == ["jobs.2.input.directory", "jobs.1.input.top_k"]


async def test_a_small_batch_cannot_grow_beyond_measure_by_the_sets_that_it_names(
    client: httpx.AsyncClient, worker: FakeWorker
) -> None:
    await put_set(client, "large", labels=[f"{number:03}{'x' * 197}" for number in range(1_000)])
    await put_set(client, "small", labels=["cat", "dog"])

    def batch(*names: str) -> dict[str, Any]:
        return {"jobs": [{"kind": "tag", "input": {"directory": "photos", "label_set": name}} for name in names]}

    within = ["large"] * (MAX_ADDED_CHARACTERS // 210_000)
    assert (await client.post("/v1/jobs/batch", json=batch(*within, "small"))).status_code == 202
    found = faults(await client.post("/v1/jobs/batch", json=batch(*within, *["large"] * 3, "small")))
    assert len(found) == 1, "what is left is not looked at"
    assert "several batches" in next(iter(found.values()))
    assert worker.rows("SELECT count(*) FROM jobs") == [(len(within) + 1,)]


async def test_the_same_key_and_body_is_the_same_job_though_the_set_has_changed(client: httpx.AsyncClient) -> None:
    body, headers = {"input": {"images": [URL], "label_set": "pets"}}, {"Idempotency-Key": "k"}
    await put_set(client, "pets", labels=["cat", "dog"])
    first = (await client.post("/v1/tag", json=body, headers=headers)).json()
    await put_set(client, "pets", labels=["parrot"])
    again = await client.post("/v1/tag", json=body, headers=headers)
    assert again.headers["Idempotency-Replayed"] == "true"
    assert (again.json()["id"], again.json()["input"]["labels"]) == (first["id"], ["cat", "dog"])
