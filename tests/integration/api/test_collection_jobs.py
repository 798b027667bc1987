"""Deleting a collection and embedding it anew: accepted in one commit, followed as any job, each tenant for itself."""

from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from api.services import Services
from tests.integration.api.conftest import FakeWorker, RecordingDoorbell
from tests.integration.api.test_refusals import paths, problem

MODEL = {"model": "clip-vit-b-32"}


@pytest.fixture
async def shoes(client: httpx.AsyncClient) -> dict[str, Any]:
    made = await client.post("/v1/collections", json={"name": "shoes"})
    assert made.status_code == 201
    return dict(made.json())


async def test_a_deleted_collection_is_gone_at_once_and_its_name_free(
    client: httpx.AsyncClient, worker: FakeWorker, doorbell: RecordingDoorbell, shoes: Any
) -> None:
    ((row_id,),) = worker.rows("SELECT id FROM collections")
    answer = await client.delete("/v1/collections/shoes")
    job = answer.json()
    assert (answer.status_code, job["kind"], job["status"]) == (202, "delete_collection", "queued")
    assert answer.headers["location"].endswith(f"/v1/jobs/{job['id']}")
    assert job["input"] == {"collection": "shoes", "collection_id": str(row_id)}
    assert [(queue, str(id)) for queue, id, *_ in doorbell.rings] == [("index", job["id"])]
    problem(await client.get("/v1/collections/shoes"), 404, "not_found")
    problem(await client.delete("/v1/collections/shoes"), 404, "not_found")
    problem(await client.post("/v1/collections/shoes/items/delete", json={"all": True}), 404, "not_found")
    problem(await client.post("/v1/collections/shoes/reembed", json=MODEL), 404, "not_found")
    assert (await client.get("/v1/collections")).json()["data"] == []
    assert (await client.post("/v1/collections", json={"name": "shoes"})).status_code == 201
    listed = (await client.get("/v1/jobs", params={"kind": "delete_collection"})).json()["data"]
    assert [row["id"] for row in listed] == [job["id"]]


async def test_it_may_be_waited_for(client: httpx.AsyncClient, worker: FakeWorker, shoes: Any) -> None:
    answer = await client.delete("/v1/collections/shoes", headers={"Prefer": "wait=1"})
    assert (answer.status_code, answer.headers["preference-applied"]) == (202, "wait=1")


async def test_a_delete_cannot_be_canceled_but_tried_again(
    client: httpx.AsyncClient, worker: FakeWorker, shoes: Any
) -> None:
    job = (await client.delete("/v1/collections/shoes")).json()["id"]
    problem(await client.post(f"/v1/jobs/{job}/cancel"), 409, "not_cancelable")
    worker.run(job)
    problem(await client.post(f"/v1/jobs/{job}/cancel"), 409, "not_cancelable")
    assert worker.rows("SELECT cancel_requested_at FROM jobs") == [(None,)]
    worker.finish(job, "failed")
    assert (await client.post(f"/v1/jobs/{job}/cancel")).status_code == 200
    assert (await client.post(f"/v1/jobs/{job}/retry")).json()["status"] == "queued"


async def test_the_mark_and_the_job_come_together_or_not_at_all(
    app: FastAPI, client: httpx.AsyncClient, worker: FakeWorker, shoes: Any
) -> None:
    worker.connection.execute("ALTER TABLE jobs ADD CONSTRAINT none CHECK (kind <> 'delete_collection') NOT VALID")
    problem(await client.delete("/v1/collections/shoes"), 500, "internal")
    assert (await client.get("/v1/collections/shoes")).status_code == 200


async def test_internal_kinds_are_not_submitted_by_name(client: httpx.AsyncClient, shoes: Any) -> None:
    for kind in ("delete_collection", "reembed"):
        problem(await client.post(f"/v1/{kind}", json={"input": {}}), 404, "not_found")
        answer = await client.post("/v1/jobs/batch", json={"jobs": [{"kind": kind, "input": {}}]})
        assert paths(answer) == ["jobs.0.kind"]
        assert kind not in answer.json()["errors"][0]["message"]


async def test_a_collection_is_embedded_anew_by_one_job_at_a_time(
    client: httpx.AsyncClient, worker: FakeWorker, doorbell: RecordingDoorbell, shoes: Any
) -> None:
    answer = await client.post("/v1/collections/shoes/reembed", json=MODEL)
    job = answer.json()
    assert (answer.status_code, job["kind"]) == (202, "reembed")
    assert job["input"].items() >= {"collection": "shoes", "model": "clip-vit-b-32", "drop_failed": False}.items()
    assert doorbell.rings[-1][0] == "clip_batch"
    shown = (await client.get("/v1/collections/shoes")).json()
    assert (shown["model"], shown["rebuilding"]) == ("starter-clip", {"job": job["id"], "model": "clip-vit-b-32"})
    problem(await client.post("/v1/collections/shoes/reembed", json=MODEL), 409, "rebuilding")
    worker.run(job["id"])
    problem(await client.post("/v1/collections/shoes/reembed", json=MODEL), 409, "rebuilding")
    await client.post("/v1/collections", json={"name": "boots"})
    assert (await client.post("/v1/collections/boots/reembed", json=MODEL)).status_code == 202
    worker.finish(job["id"], "failed")
    assert (await client.get("/v1/collections/shoes")).json()["rebuilding"] is None
    again = await client.post("/v1/collections/shoes/reembed", json={"model": "starter-clip", "drop_failed": True})
    assert again.json()["input"]["drop_failed"] is True


@pytest.mark.parametrize(
    ("body", "code", "where"),
    [
        ({}, "invalid_input", ["model"]),
        ({"model": "gpt"}, "model_unknown", ["model"]),
        ({**MODEL, "drop": True}, "invalid_input", ["drop"]),
        ({**MODEL, "drop_failed": "yes"}, "invalid_input", ["drop_failed"]),
    ],
)
async def test_a_wrong_request_to_embed_anew(
    client: httpx.AsyncClient, worker: FakeWorker, shoes: Any, body: Any, code: str, where: list[str]
) -> None:
    answer = await client.post("/v1/collections/shoes/reembed", json=body)
    problem(answer, 422, code)
    assert paths(answer) == where
    assert worker.rows("SELECT count(*) FROM jobs") == [(0,)]


async def test_other_tenants_and_scopes(app: FastAPI, client: httpx.AsyncClient, make_key: Any, shoes: Any) -> None:
    stranger = {"Authorization": make_key("collections:write", "jobs:write", "jobs:read", tenant="other")}
    problem(await client.delete("/v1/collections/shoes", headers=stranger), 404, "not_found")
    problem(await client.post("/v1/collections/shoes/reembed", json=MODEL, headers=stranger), 404, "not_found")
    selection = {"all": True}
    path = "/v1/collections/shoes/items"
    problem(await client.post(f"{path}/delete", json=selection, headers=stranger), 404, "not_found")
    problem(await client.patch(f"{path}/a", json={"text": "x"}, headers=stranger), 404, "not_found")
    weak = {"Authorization": make_key("collections:write")}
    problem(await client.post("/v1/collections/shoes/reembed", json=MODEL, headers=weak), 403, "forbidden")
    services: Services = app.state.services
    assert await services.database.fetch("SELECT 1 FROM jobs") == []
    assert (await client.get("/v1/collections/shoes")).status_code == 200
