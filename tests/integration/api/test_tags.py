"""`/v1/tags` over a library of random pictures agrees with Python, which looks at them one by one."""

import csv
import io
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from shared import keys
from shared.settings import ApiSettings
from tests.integration.api.conftest import ROOT, SERVER_KEY, running
from tests.integration.api.tagged import DATES, SCORES, TAGS, Picture, in_order, matching, random_pictures, store
from tests.integration.api.test_refusals import problem

tags = st.lists(st.sampled_from([*TAGS, "nowhere"]), max_size=2)
bounds = st.sampled_from(DATES)
filters = st.fixed_dictionaries(
    {},
    optional={
        "all": tags,
        "any": tags,
        "none": tags,
        "min_score": st.sampled_from(SCORES),
        "taken_after": bounds,
        "taken_before": bounds,
    },
)
sorts = st.sampled_from(["-score", "score", "-taken", "taken", "path", "-path"])


@pytest.fixture(scope="module")
def make_key_there(module_postgres_url: str) -> Callable[..., str]:
    """Call it for the Authorization header of a new key to the library."""

    def make(*scopes: str, tenant: str) -> str:
        with psycopg.connect(module_postgres_url, autocommit=True) as connection:
            asked = list(scopes) or ["jobs:write", "jobs:read"]
            return f"Bearer {keys.create(connection, SERVER_KEY, tenant=tenant, scopes=asked).token}"

    return make


class Library:
    """Random pictures, and an API that knows them."""

    def __init__(self, client: httpx.AsyncClient, pictures: list[Picture]) -> None:
        self.client = client
        self.pictures = pictures

    async def get(self, path: str, query: dict[str, Any]) -> httpx.Response:
        written = {
            name: value.isoformat() if name.startswith("taken") else value
            for name, value in query.items()
            if value != []
        }
        answer = await self.client.get(path, params=written)
        assert answer.status_code == 200, answer.text
        return answer

    async def all_pages(self, query: dict[str, Any]) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        page = (await self.get("/v1/tags", query)).json()
        while True:
            found += page["data"]
            assert len(found) <= len(self.pictures)
            if page["next_cursor"] is None:
                return found
            assert len(page["data"]) == query["limit"]
            page = (await self.get("/v1/tags", query | {"cursor": page["next_cursor"]})).json()


@pytest.fixture(scope="module")
async def library(
    module_postgres_url: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Library]:
    pictures = random_pictures(220, seed=7)
    store(module_postgres_url, pictures)
    settings = ApiSettings(
        home=tmp_path_factory.mktemp("home"),
        secret_key=SecretStr(SERVER_KEY),
        database_url=module_postgres_url,
        redis_url=redis_url,
        models_file=ROOT / "models.toml",
        anonymous_access=True,
    )
    async with running(settings) as (_, client):
        yield Library(client, pictures)


@settings(max_examples=120, deadline=None)
@given(query=filters, sort=sorts, limit=st.integers(1, 60))
async def test_pages_hold_what_matches_once_and_in_order(
    library: Library, query: dict[str, Any], sort: str, limit: int
) -> None:
    query = query | {"sort": sort, "limit": limit}
    expected = in_order(matching(library.pictures, query), query)
    assert [row["id"] for row in await library.all_pages(query)] == [picture.id for picture in expected]


@pytest.mark.parametrize("sort", ["-score", "score", "-taken", "taken", "path", "-path"])
@pytest.mark.parametrize("limit", [1, 3, 1000])
async def test_the_whole_library_is_paged_without_gap_or_repeat(library: Library, sort: str, limit: int) -> None:
    for query in ({}, {"any": list(TAGS)}):
        asked = query | {"sort": sort, "limit": limit}
        expected = in_order(matching(library.pictures, asked), asked)
        assert [row["id"] for row in await library.all_pages(asked)] == [picture.id for picture in expected]


@settings(max_examples=60, deadline=None)
@given(query=filters, tag=st.none() | st.sampled_from(TAGS), limit=st.integers(1, 10))
async def test_statistics_count_what_matches(
    library: Library, query: dict[str, Any], tag: str | None, limit: int
) -> None:
    found = matching(library.pictures, query)
    scores = [(name, score) for picture in found for name, score in picture.scores.items()]
    counts = sorted(Counter(name for name, _ in scores).items(), key=lambda entry: (-entry[1], entry[0]))[:limit]
    dated = [picture for picture in found if tag is None or tag in picture.scores]
    months = Counter(picture.taken.strftime("%Y-%m") for picture in dated if picture.taken)

    asked = query | {"limit": limit} | ({} if tag is None else {"tag": tag})
    shown = (await library.get("/v1/tags/statistics", asked)).json()
    assert shown["total"] == len(found)
    assert [(entry["tag"], entry["count"]) for entry in shown["tags"]] == counts
    for entry in shown["tags"]:
        mean = sum(score for name, score in scores if name == entry["tag"]) / entry["count"]
        assert entry["mean_score"] == pytest.approx(mean)
    assert shown["months"] == [{"month": month, "count": count} for month, count in sorted(months.items())]
    assert shown["undated"] == sum(picture.taken is None for picture in dated)


@settings(max_examples=30, deadline=None)
@given(query=filters)
async def test_exports_read_back_as_what_matches(library: Library, query: dict[str, Any]) -> None:
    expected = in_order(matching(library.pictures, query), {"sort": "path"})
    lines = (await library.get("/v1/tags/export", query | {"format": "jsonl"})).content.decode().splitlines()
    rows = [json.loads(line) for line in lines]
    assert [(row["image_path"], row["tags"], row["taken_at"]) for row in rows] == [
        (picture.path, picture.tags, picture.taken and picture.taken.isoformat()) for picture in expected
    ]
    table = list(
        csv.DictReader(io.StringIO((await library.get("/v1/tags/export", query)).content.decode(), newline=""))
    )
    for cells, picture in zip(table, expected, strict=True):
        best = picture.tags[0] if picture.tags else {"tag": "", "score": ""}
        assert (cells["image_path"], json.loads(cells["tags"])) == (picture.path, picture.tags)
        assert (cells["best_tag"], cells["score"]) == (best["tag"], str(best["score"]))
        assert cells["taken_at"] == (picture.taken.isoformat() if picture.taken else "")


async def test_a_picture_is_shown_with_its_tags(library: Library) -> None:
    picture = next(
        picture for picture in library.pictures if picture.tenant == "default" and picture.added and picture.taken
    )
    (listed,) = (await library.get("/v1/tags", {"path": picture.path})).json()["data"]
    assert listed["tags"] == picture.tags
    assert listed["taken_at"] == picture.taken.isoformat()  # type: ignore[union-attr]
    assert set(listed) == {"id", "image_path", "tags", "taken_at", "created_at", "updated_at"}
    assert listed["created_at"].endswith("Z")
    assert (await library.get(f"/v1/tags/{picture.id}", {})).json() == listed
    assert (await library.get("/v1/tags", {"path": "photos/none.jpg"})).json() == {"data": [], "next_cursor": None}


@pytest.mark.parametrize(
    ("parameters", "where"),
    [
        ({"sort": "size"}, "sort"),
        ({"min_score": "1.01"}, "min_score"),
        ({"min_score": "-0.1"}, "min_score"),
        ({"min_score": "nan"}, "min_score"),
        ({"min_score": "much"}, "min_score"),
        ({"taken_after": "yesterday"}, "taken_after"),
        ({"taken_before": "2024-13-01"}, "taken_before"),
        ({"taken_before": "2024-05-01T10:00:00Z"}, "taken_before"),
        ({"all": "  "}, "all.0"),
        ({"any": ["cat", "x" * 201]}, "any.1"),
        ({"none": [str(n) for n in range(51)]}, "none"),
        ({"path": ""}, "path"),
        ({"limit": "0"}, "limit"),
        ({"limit": "1001"}, "limit"),
        ({"cursor": "abc"}, "cursor"),
        ({"cursor": ""}, "cursor"),
        ({"color": "red"}, "color"),
        ({"all": "a\0b"}, "all"),
    ],
    ids=lambda value: str(value)[:30],
)
async def test_a_wrong_parameter_is_named(library: Library, parameters: dict[str, Any], where: str) -> None:
    answer = await library.client.get("/v1/tags", params=parameters)
    assert [error["path"] for error in problem(answer, 422, "invalid_input")["errors"]] == [where]


@pytest.mark.parametrize(
    ("path", "parameters", "where"),
    [
        ("statistics", {"tag": ""}, "tag"),
        ("statistics", {"sort": "path"}, "sort"),
        ("statistics", {"min_score": "2"}, "min_score"),
        ("export", {"format": "xml"}, "format"),
        ("export", {"limit": "3"}, "limit"),
        ("export", {"taken_after": "2024-02-30"}, "taken_after"),
    ],
)
async def test_so_is_one_of_statistics_and_exports(
    library: Library, path: str, parameters: dict[str, str], where: str
) -> None:
    answer = await library.client.get(f"/v1/tags/{path}", params=parameters)
    assert [error["path"] for error in problem(answer, 422, "invalid_input")["errors"]] == [where]


async def test_a_cursor_serves_the_order_it_was_made_for(library: Library) -> None:
    cursor = (await library.get("/v1/tags", {"limit": 1, "sort": "taken"})).json()["next_cursor"]
    for other in ("-taken", "score", "path"):
        answer = await library.client.get("/v1/tags", params={"cursor": cursor, "sort": other})
        assert [error["path"] for error in problem(answer, 422, "invalid_input")["errors"]] == ["cursor"]


async def test_tenants_are_kept_apart(library: Library, make_key_there: Callable[..., str]) -> None:
    theirs = {picture.id for picture in library.pictures if picture.tenant == "other"}
    key = {"Authorization": make_key_there(tenant="other")}
    nobody = {"Authorization": make_key_there(tenant="nobody")}
    shown = (await library.client.get("/v1/tags", params={"limit": 1000}, headers=key)).json()["data"]
    assert {row["id"] for row in shown} == theirs
    assert (await library.client.get("/v1/tags/statistics", headers=key)).json()["total"] == len(theirs)
    exported = await library.client.get("/v1/tags/export", params={"format": "jsonl"}, headers=key)
    assert {json.loads(line)["id"] for line in exported.text.splitlines()} == theirs
    empty = await library.client.get("/v1/tags/statistics", headers=nobody)
    assert empty.json() == {"total": 0, "tags": [], "months": [], "undated": 0}
    one = f"/v1/tags/{min(theirs)}"
    problem(await library.client.get(one), 404, "not_found")
    problem(await library.client.patch(one, json={"add": ["x"]}), 404, "not_found")
    problem(await library.client.delete(one), 404, "not_found")
    assert (await library.client.get(one, headers=key)).status_code == 200


@pytest.mark.parametrize("id", ["0", "2147483648", "99999999999999999999", "-1", "one", "%00", "١"])
async def test_an_id_that_is_none_is_not_found(library: Library, id: str) -> None:
    problem(await library.client.get(f"/v1/tags/{id}"), 404, "not_found")
    problem(await library.client.patch(f"/v1/tags/{id}", json={"add": ["x"]}), 404, "not_found")
    problem(await library.client.delete(f"/v1/tags/{id}"), 404, "not_found")


async def test_reading_and_writing_need_their_scopes(library: Library, make_key_there: Callable[..., str]) -> None:
    reader = {"Authorization": make_key_there("jobs:read", tenant="other")}
    writer = {"Authorization": make_key_there("jobs:write", tenant="other")}
    for path in ("", "/statistics", "/export", "/1"):
        problem(await library.client.get(f"/v1/tags{path}", headers=writer), 403, "forbidden")
    problem(await library.client.patch("/v1/tags/1", json={"add": ["x"]}, headers=reader), 403, "forbidden")
    problem(await library.client.delete("/v1/tags/1", headers=reader), 403, "forbidden")
