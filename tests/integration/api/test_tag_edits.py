"""Tags by hand: they outlast tagging again, each edit undoes its opposite, and edits at once lose none."""

import asyncio
from typing import Any

import httpx
import pytest

from shared.tags.edits import MAX_ADDED, MAX_REMOVED
from tests.integration.api.conftest import FakeWorker
from tests.integration.api.tagged import Picture, store, tag_again
from tests.integration.api.test_refusals import problem

PATH = "photos/a.jpg"


@pytest.fixture
def picture(postgres_url: str) -> Picture:
    made = Picture(PATH, found={"cat": 0.8, "dog": 0.2})
    store(postgres_url, [made])
    return made


async def edited(client: httpx.AsyncClient, picture: Picture, **edit: list[str]) -> list[tuple[str, float, bool]]:
    """(tag, score, whether by hand) of every tag that it shows afterwards."""
    answer = await client.patch(f"/v1/tags/{picture.id}", json=edit)
    assert answer.status_code == 200, answer.text
    assert answer.json() == (await client.get(f"/v1/tags/{picture.id}")).json()
    return [(tag["tag"], tag["score"], tag.get("by") == "hand") for tag in answer.json()["tags"]]


async def names(client: httpx.AsyncClient, picture: Picture) -> list[str]:
    return [tag["tag"] for tag in (await client.get(f"/v1/tags/{picture.id}")).json()["tags"]]


async def test_edits_outlast_tagging_again(client: httpx.AsyncClient, picture: Picture, postgres_url: str) -> None:
    shown = await edited(client, picture, add=["grandma"], remove=["dog"])
    assert shown == [("grandma", 1.0, True), ("cat", 0.8, False)]
    tag_again(postgres_url, PATH, {"dog": 0.9, "beach": 0.05, "grandma": 0.01})
    assert await names(client, picture) == ["grandma", "beach"]
    found = (await client.get("/v1/tags", params={"all": "grandma", "min_score": "1"})).json()["data"]
    assert [row["id"] for row in found] == [picture.id]
    assert (await client.get("/v1/tags", params={"all": "dog"})).json()["data"] == []


async def test_an_edit_undoes_its_opposite(client: httpx.AsyncClient, picture: Picture, postgres_url: str) -> None:
    assert await edited(client, picture, remove=["cat"]) == [("dog", 0.2, False)]
    assert await edited(client, picture, add=["cat"]) == [("cat", 1.0, True), ("dog", 0.2, False)]
    assert await edited(client, picture, add=["cat", "cat", " owl "]) == [
        ("cat", 1.0, True),
        ("owl", 1.0, True),
        ("dog", 0.2, False),
    ]
    assert await edited(client, picture, remove=["owl", "cat"]) == [("dog", 0.2, False)]
    tag_again(postgres_url, PATH, {"owl": 0.9, "cat": 0.8, "Cat": 0.7})
    assert await names(client, picture) == ["Cat"]
    assert await edited(client, picture, add=["owl"], remove=["Cat"]) == [("owl", 1.0, True)]


async def test_edits_at_once_lose_none(client: httpx.AsyncClient, picture: Picture, worker: FakeWorker) -> None:
    tags = [f"tag {n}" for n in range(24)]
    await edited(client, picture, add=tags[::2])
    await asyncio.gather(
        *(edited_only(client, picture, add=[tag]) for tag in tags[1::2]),
        *(edited_only(client, picture, remove=[tag]) for tag in tags[::2]),
    )
    assert sorted(await names(client, picture)) == sorted([*tags[1::2], "cat", "dog"])
    ((added, removed),) = worker.rows("SELECT added_tags, removed_tags FROM tagged_images")
    assert (sorted(added), sorted(removed)) == (sorted(tags[1::2]), sorted(tags[::2]))


async def edited_only(client: httpx.AsyncClient, picture: Picture, **edit: list[str]) -> int:
    return (await client.patch(f"/v1/tags/{picture.id}", json=edit)).status_code


async def test_the_limit_holds_also_for_edits_at_once(client: httpx.AsyncClient, picture: Picture) -> None:
    tags = [f"tag {n}" for n in range(MAX_ADDED)]
    await edited(client, picture, add=tags[:-3])
    more = [f"more {n}" for n in range(9)]
    statuses = await asyncio.gather(*(edited_only(client, picture, add=[tag]) for tag in more))
    assert sorted(statuses) == [200] * 3 + [422] * 6
    refused = await client.patch(f"/v1/tags/{picture.id}", json={"add": ["one"], "remove": ["dog"]})
    assert [error["path"] for error in problem(refused, 422, "invalid_input")["errors"]] == ["add"]
    assert "dog" in await names(client, picture)
    await edited(client, picture, add=[tags[0]])  # it is there already
    await edited(client, picture, add=["one"], remove=[tags[0]])


async def test_not_everything_can_be_kept_away(client: httpx.AsyncClient, postgres_url: str) -> None:
    full = Picture(PATH, removed=tuple(f"tag {n}" for n in range(MAX_REMOVED)))
    store(postgres_url, [full])
    refused = await client.patch(f"/v1/tags/{full.id}", json={"remove": ["dog"]})
    assert [error["path"] for error in problem(refused, 422, "invalid_input")["errors"]] == ["remove"]
    await edited(client, full, remove=["tag 1"])
    await edited(client, full, add=["tag 2"])
    await edited(client, full, remove=["dog"])


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({}, ["add"]),
        ({"add": [], "remove": []}, ["add"]),
        ({"add": ["a", " b "], "remove": ["b"]}, ["remove"]),
        ({"add": [" "], "remove": ["x" * 201]}, ["add.0", "remove.0"]),
        ({"add": [str(n) for n in range(MAX_ADDED + 1)]}, ["add"]),
        ({"add": "grandma"}, ["add"]),
        ({"add": ["a\0b"]}, ["add.0"]),
        ({"tags": ["a"]}, ["tags"]),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_a_wrong_edit_changes_nothing(
    client: httpx.AsyncClient, picture: Picture, worker: FakeWorker, body: Any, where: list[str]
) -> None:
    answer = await client.patch(f"/v1/tags/{picture.id}", json=body)
    assert [error["path"] for error in problem(answer, 422, "invalid_input")["errors"]] == where
    assert worker.rows("SELECT added_tags, removed_tags, updated_at = created_at FROM tagged_images") == [
        ([], [], True)
    ]


async def test_a_deleted_picture_is_found_no_more(client: httpx.AsyncClient, picture: Picture) -> None:
    assert (await client.delete(f"/v1/tags/{picture.id}")).status_code == 204
    problem(await client.get(f"/v1/tags/{picture.id}"), 404, "not_found")
    problem(await client.delete(f"/v1/tags/{picture.id}"), 404, "not_found")
    assert (await client.get("/v1/tags")).json() == {"data": [], "next_cursor": None}


@pytest.mark.parametrize("sort", ["-score", "score", "-taken", "path"])
async def test_pages_are_stable_while_pictures_come_and_go(
    client: httpx.AsyncClient, postgres_url: str, sort: str
) -> None:
    pictures = [Picture(f"photos/{n}.jpg", found={"cat": n % 3 / 4 + 0.25}) for n in range(9)]
    store(postgres_url, pictures)
    query = {"sort": sort, "limit": "3", "all": "cat"}
    seen: list[int] = []
    cursor: str | None = None
    for turn in range(10):
        page = (await client.get("/v1/tags", params=query | ({"cursor": cursor} if cursor else {}))).json()
        seen += [row["id"] for row in page["data"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
        await client.delete(f"/v1/tags/{seen[-1]}")  # where the page ended
        store(postgres_url, [Picture(f"photos/{turn}{score}.jpg", found={"cat": score}) for score in (0.25, 0.5, 0.75)])
    there_throughout = [id for id in seen if id in {picture.id for picture in pictures}]
    assert sorted(there_throughout) == sorted(picture.id for picture in pictures)
    assert len(set(seen)) == len(seen)
