"""Pictures inside requests: into storage once, never into a row, and gone when nothing needs them."""

import asyncio
import base64
import io
from typing import Any

import httpx
import psycopg
import pytest
from fastapi import FastAPI
from PIL import Image

from shared import files
from shared.jobs import submission
from shared.storage.keys import picture_key
from tests.integration.api.conftest import FakeWorker, Make, running
from tests.integration.api.test_refusals import paths, problem


def png(color: str = "red", size: tuple[int, int] = (8, 8)) -> str:
    """A picture as base64."""
    buffer = io.BytesIO()
    Image.new("RGB", size, color).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def embed(*images: Any) -> dict[str, Any]:
    return {"input": {"images": list(images)}}


async def test_inline_pictures_become_files(app: FastAPI, client: httpx.AsyncClient, worker: FakeWorker) -> None:
    red, blue = png("red"), png("blue")
    body = embed({"base64": red}, f"data:image/png;base64,{blue}", {"base64": red}, "https://example.com/a.png")
    job = (await client.post("/v1/embed", json=body)).json()
    first, second, third, fourth = job["input"]["images"]
    assert first == third != second
    assert fourth == "https://example.com/a.png"
    rows = worker.rows("SELECT id, storage_key, size, width, height, content_type FROM files ORDER BY id")
    assert {row[0] for row in rows} == {first["file"], second["file"]}
    assert {row[3:] for row in rows} == {(8, 8, "image/png")}
    assert worker.rows("SELECT count(*) FROM job_files WHERE job_id = %s", job["id"]) == [(2,)]
    stored = app.state.services.storage
    assert {stored.read(row[1]) for row in rows} == {base64.b64decode(red), base64.b64decode(blue)}
    assert red not in worker.rows("SELECT input::text FROM jobs")[0][0]


async def test_the_same_bytes_are_one_file_for_a_tenant(
    client: httpx.AsyncClient, worker: FakeWorker, make_key: Any
) -> None:
    for tenant in ("acme", "acme", "other"):
        headers = {"Authorization": make_key(tenant=tenant)}
        assert (await client.post("/v1/embed", json=embed({"base64": png()}), headers=headers)).status_code == 202
    rows = worker.rows(
        "SELECT tenant, count(*), count(DISTINCT storage_key) FROM files GROUP BY tenant ORDER BY tenant"
    )
    assert rows == [("acme", 1, 1), ("other", 1, 1)]


async def test_a_stored_file_can_be_named(client: httpx.AsyncClient, worker: FakeWorker, make_key: Any) -> None:
    job = (await client.post("/v1/embed", json=embed({"base64": png()}))).json()
    picture = job["input"]["images"][0]
    again = await client.post("/v1/embed", json=embed(picture))
    assert again.status_code == 202
    assert worker.rows("SELECT count(*) FROM job_files") == [(2,)]
    for headers, file in (({}, f"file_{'a' * 26}"), ({"Authorization": make_key(tenant="other")}, picture["file"])):
        answer = await client.post("/v1/embed", json=embed({"file": file}), headers=headers)
        problem(answer, 422, "invalid_input")
        assert paths(answer) == ["input.images.0"]


@pytest.mark.parametrize(
    ("picture", "code"),
    [
        ({"base64": base64.b64encode(b"just text").decode()}, "image_unsupported"),
        ({"base64": base64.b64encode(base64.b64decode(png())[:20]).decode()}, "image_corrupt"),
        ({"base64": "%%%"}, "invalid_input"),
        ("data:image/png,abc", "invalid_input"),
        ({"base64": "AAAA" * 1000}, "image_unsupported"),
        ({"url": "http://127.0.0.1/a.png"}, "image_forbidden_address"),
        ("http://169.254.169.254/latest", "image_forbidden_address"),
        ("http://[::1]/a.png", "image_forbidden_address"),
    ],
)
async def test_what_is_no_picture_is_refused_by_path(
    client: httpx.AsyncClient, worker: FakeWorker, picture: Any, code: str
) -> None:
    answer = await client.post("/v1/embed", json=embed("https://example.com/a.png", picture))
    problem(answer, 422, code)
    assert paths(answer) == ["input.images.1"]
    assert worker.rows("SELECT (SELECT count(*) FROM jobs), (SELECT count(*) FROM files)") == [(0, 0)]


async def test_a_picture_over_the_limits_is_refused(make_settings: Make) -> None:
    async with running(make_settings(max_picture_pixels=100)) as (_, client):
        problem(await client.post("/v1/embed", json=embed({"base64": png(size=(11, 10))})), 422, "image_too_large")
    async with running(make_settings(max_picture_bytes=50)) as (_, client):
        problem(await client.post("/v1/embed", json=embed({"base64": png()})), 422, "image_too_large")


async def test_faults_of_many_kinds_are_told_at_once(client: httpx.AsyncClient) -> None:
    body = {
        "input": {"images": [{"base64": "%%%"}, "http://127.0.0.1/", {"file": f"file_{'a' * 26}"}], "model": "gpt"},
        "timeout_seconds": 80_000,
    }
    answer = await client.post("/v1/embed", json=body)
    problem(answer, 422, "invalid_input")
    assert sorted(paths(answer)) == [
        "input.images.0",
        "input.images.1",
        "input.images.2",
        "input.model",
        "timeout_seconds",
    ]


async def test_items_and_queries_hold_pictures_too(client: httpx.AsyncClient, worker: FakeWorker) -> None:
    items = [{"id": "a", "image": {"base64": png()}}, {"id": "b", "image": f"data:image/png;base64,{png('blue')}"}]
    index = (await client.post("/v1/index", json={"input": {"collection": "c", "items": items}})).json()
    assert [set(item["image"]) for item in index["input"]["items"]] == [{"file"}, {"file"}]
    search = await client.post("/v1/search", json={"input": {"collection": "c", "image": {"base64": png()}}})
    assert search.json()["input"]["image"] == index["input"]["items"][0]["image"]


async def test_a_replay_compares_the_pictures_that_were_sent(client: httpx.AsyncClient) -> None:
    headers = {"Idempotency-Key": "a"}
    first = await client.post("/v1/embed", json=embed({"base64": png()}), headers=headers)
    again = await client.post("/v1/embed", json=embed({"base64": png()}), headers=headers)
    assert first.json()["id"] == again.json()["id"]
    other = await client.post("/v1/embed", json=embed({"base64": png("blue")}), headers=headers)
    problem(other, 409, "idempotency_conflict")


async def test_a_file_goes_with_its_last_job_unless_it_is_fresh(
    app: FastAPI, client: httpx.AsyncClient, worker: FakeWorker
) -> None:
    jobs = [(await client.post("/v1/embed", json=embed({"base64": png()}))).json() for _ in range(3)]
    ((key,),) = worker.rows("SELECT storage_key FROM files")
    storage = app.state.services.storage
    worker.connection.execute("UPDATE files SET touched_at = now() - interval '1 day'")
    await client.delete(f"/v1/jobs/{jobs[0]['id']}")
    assert storage.exists(key)
    worker.connection.execute("UPDATE files SET touched_at = now()")
    await client.delete(f"/v1/jobs/{jobs[1]['id']}")
    worker.connection.execute("UPDATE files SET touched_at = now() - interval '1 day'")
    await client.delete(f"/v1/jobs/{jobs[2]['id']}")
    assert not storage.exists(key)
    assert worker.rows("SELECT count(*) FROM files") == [(0,)]
    assert (await client.post("/v1/embed", json=embed({"base64": png()}))).status_code == 202
    assert storage.exists(key)


async def test_the_sweeper_erases_what_nothing_needs(
    app: FastAPI, client: httpx.AsyncClient, worker: FakeWorker, postgres_url: str
) -> None:
    storage = app.state.services.storage
    kept = (await client.post("/v1/embed", json=embed({"base64": png()}))).json()
    for color in ("blue", "green", "black"):
        job = (await client.post("/v1/embed", json=embed({"base64": png(color)}))).json()
        await client.delete(f"/v1/jobs/{job['id']}")
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        assert files.erase_unused_files(connection, storage, page=2) == 0
        connection.execute("UPDATE files SET touched_at = now() - interval '2 hours'")
        assert files.erase_unused_files(connection, storage, page=2) == 3
    ((id, key),) = worker.rows("SELECT id, storage_key FROM files")
    assert kept["input"]["images"] == [{"file": id}]
    assert storage.exists(key)
    assert key == picture_key("default", worker.rows("SELECT encode(sha256, 'hex') FROM files")[0][0])


async def test_a_bad_row_does_not_fail_its_neighbours(app: FastAPI, worker: FakeWorker) -> None:
    def job(**changes: Any) -> submission.NewJob:
        values: dict[str, Any] = {
            "id": submission.new_id(),
            "tenant": "t",
            "key_id": None,
            "kind": "noop",
            "queue": "noop",
            "batch_key": None,
            "priority": 1,
            "input": "{}",
            "metadata": "{}",
            "max_attempts": 3,
            "timeout_seconds": 60.0,
        }
        return submission.NewJob(**(values | changes))

    submitter = app.state.services.submitter
    jobs = [job(), job(files=("file_gone",)), job(input="{"), job()]
    results = await asyncio.gather(*map(submitter.submit, jobs), return_exceptions=True)
    assert [isinstance(result, submission.Accepted) for result in results] == [True, False, False, True]
    assert worker.rows("SELECT count(*) FROM jobs") == [(2,)]
