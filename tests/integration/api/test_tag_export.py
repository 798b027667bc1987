"""Exports: whole and in order over many pages, safe to open in a spreadsheet, read no further than they are wanted."""

import csv
import io
import json
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from shared.database.asynchronous import Database, Row
from shared.tags.paging import EXPORT_PAGE, PAGE_BYTES
from tests.integration.api.conftest import FakeWorker
from tests.integration.api.tagged import Picture, store
from tests.integration.api.test_refusals import problem

MANY = 3 * EXPORT_PAGE + 7


class CountingDatabase:
    """A database that counts what it is asked."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.fetches = 0

    async def fetch(self, statement: str, *arguments: Any) -> list[Row]:
        self.fetches += 1
        return await self.database.fetch(statement, *arguments)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.database, name)


@pytest.fixture
def counting(app: FastAPI) -> CountingDatabase:
    app.state.services.database = CountingDatabase(app.state.services.database)
    counting: CountingDatabase = app.state.services.database
    return counting


@pytest.fixture
def many(worker: FakeWorker) -> None:
    worker.connection.execute(
        "INSERT INTO tagged_images (tenant, image_path, found_tags) SELECT 'default', 'photos/' || n || '.jpg', "
        """'[{"tag": "cat", "score": 0.5}]' FROM generate_series(1, %s) n""",
        (MANY,),
    )


@pytest.mark.usefixtures("many")
async def test_an_export_is_whole_over_many_pages(client: httpx.AsyncClient, counting: CountingDatabase) -> None:
    lines = (await client.get("/v1/tags/export", params={"format": "jsonl"})).text.splitlines()
    paths = [json.loads(line)["image_path"] for line in lines]
    assert sorted(paths) == sorted(f"photos/{n}.jpg" for n in range(1, MANY + 1))
    assert counting.fetches == 4
    table = list(csv.reader(io.StringIO((await client.get("/v1/tags/export")).content.decode(), newline="")))
    assert [row[0] for row in table] == ["image_path", *paths]


@pytest.fixture
def heavy(postgres_url: str) -> list[Picture]:
    """Pictures with and without a thousand long tags: more in all than a page may hold."""
    tags = {f"{'靴' * 190}{n}": n / 1_000 for n in range(1_000)}
    pictures = [Picture(f"photos/{n}.jpg", found=tags if n % 4 else {}) for n in range(24)]
    store(postgres_url, pictures)
    return pictures


@pytest.mark.parametrize("sort", ["-score", "score", "path"])
async def test_a_page_of_heavy_pictures_ends_early(client: httpx.AsyncClient, heavy: list[Picture], sort: str) -> None:
    seen: list[int] = []
    query: dict[str, Any] = {"sort": sort, "limit": len(heavy)}
    while True:
        answer = await client.get("/v1/tags", params=query)
        assert len(answer.content) < 1.1 * PAGE_BYTES
        seen += [row["id"] for row in answer.json()["data"]]
        if answer.json()["next_cursor"] is None:
            break
        query["cursor"] = answer.json()["next_cursor"]
    assert sorted(seen) == sorted(picture.id for picture in heavy)


async def test_an_export_of_heavy_pictures_is_whole(
    client: httpx.AsyncClient, counting: CountingDatabase, heavy: list[Picture]
) -> None:
    lines = (await client.get("/v1/tags/export", params={"format": "jsonl"})).text.splitlines()
    assert sorted(json.loads(line)["id"] for line in lines) == sorted(picture.id for picture in heavy)
    assert counting.fetches == 2


async def test_an_empty_export_is_one(client: httpx.AsyncClient) -> None:
    table = await client.get("/v1/tags/export")
    assert table.text == "image_path,taken_at,tags,best_tag,score\r\n"
    assert table.headers["content-type"] == "text/csv; charset=utf-8; header=present"
    assert table.headers["content-disposition"] == 'attachment; filename="tags.csv"'
    lines = await client.get("/v1/tags/export", params={"format": "jsonl"})
    assert lines.text == ""
    assert lines.headers["content-type"] == "application/x-ndjson"
    assert lines.headers["content-disposition"] == 'attachment; filename="tags.jsonl"'


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", "＝", "＠"])
async def test_no_cell_is_taken_for_a_formula(client: httpx.AsyncClient, postgres_url: str, start: str) -> None:
    formula = f'{start}HYPERLINK("http://example.com";"a, b")\n'
    store(postgres_url, [Picture(formula, found={formula: 0.5})])
    _, row = csv.reader(io.StringIO((await client.get("/v1/tags/export")).content.decode(), newline=""))
    assert (row[0], row[3]) == ("'" + formula, "'" + formula)
    assert json.loads(row[2]) == [{"tag": formula, "score": 0.5}]
    plain = (await client.get("/v1/tags/export", params={"format": "jsonl"})).json()
    assert plain["image_path"] == formula


@pytest.mark.usefixtures("many")
async def test_a_client_that_hangs_up_stops_the_reading(app: FastAPI, counting: CountingDatabase) -> None:
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        if any(earlier["type"] == "http.response.body" for earlier in sent):
            raise OSError("the connection is gone")
        sent.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/v1/tags/export",
        "raw_path": b"/v1/tags/export",
        "query_string": b"",
        "headers": [],
    }
    await app(scope, receive, send)
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    assert counting.fetches == 2  # of four: the page that was sent, and the one that nobody took


async def test_a_database_that_is_away_is_a_problem(app: FastAPI, client: httpx.AsyncClient) -> None:
    await app.state.services.database.close()
    problem(await client.get("/v1/tags/export"), 503, "unavailable")
