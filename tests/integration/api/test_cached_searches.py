"""Searches that were asked before: answered by the API at once, and never with what is old."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis

from shared.cache.entries import PREFIX
from shared.database.pool import Pool, open_pool
from tests.integration.api.conftest import Make, RecordingDoorbell, running
from tests.integration.api.shop import Shop, ShopWorker, cached, found, picture, worker_settings, write_models

COLORS = {"color": {"in": ["red", "green", "blue"]}, "or": [{"x": 1}, {"not": {"x": 1}}]}
QUERY: dict[str, Any] = {"text": "red", "top_k": 3, "filter": COLORS}


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return write_models(tmp_path)


@pytest.fixture
def pool(postgres_url: str) -> Iterator[Pool]:
    with open_pool(postgres_url) as pool:
        yield pool


@pytest.fixture
def worker(pool: Pool, postgres_url: str, redis_url: str, tmp_path: Path, models: Path) -> Iterator[ShopWorker]:
    worker = ShopWorker(pool, worker_settings(postgres_url, redis_url, tmp_path, models))
    yield worker
    worker.close()


@pytest.fixture
async def shop(make_settings: Make, models: Path, worker: ShopWorker) -> AsyncIterator[Shop]:
    async with running(make_settings(models_file=models)) as (app, client):
        shop = Shop(app, client, worker)
        await shop.index(a="red", b="blue")
        yield shop


@pytest.fixture
def valkey_client(redis_url: str) -> Iterator["redis.Redis"]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


async def test_the_same_search_is_answered_by_the_api_itself(shop: Shop) -> None:
    first = await shop.ask(text="red")
    rings = len(bell(shop).rings)
    again = await shop.ask(text="red")
    assert (cached(first), cached(again)) == (False, True)
    assert again["output"] == first["output"]
    assert found(again) == ["a", "b"]
    assert again["id"] != first["id"]
    assert len(bell(shop).rings) == rings


async def test_a_cached_job_is_a_job_like_any_other(shop: Shop, postgres_url: str) -> None:
    await shop.ask(text="red")
    body = {"input": {"collection": "shoes", "text": "red"}, "metadata": {"order": "7"}, "max_attempts": 5}
    answer = await shop.post("/v1/search", body, **{"Prefer": "wait=5", "Cancel-After": "1m"})
    assert answer.status_code == 200
    assert answer.headers["preference-applied"] == "wait=5"
    job = answer.json()
    assert answer.headers["location"] == job["urls"]["get"]
    assert job["metrics"] == {"queue_seconds": 0.0, "run_seconds": 0.0, "cached": True}
    assert (job["status"], job["attempt"], job["max_attempts"], job["queue_position"]) == ("succeeded", 0, 5, None)
    assert job["progress"] == {"fraction": 1.0, "message": None}
    assert job["created_at"] == job["started_at"] == job["completed_at"] < job["expires_at"]
    assert await shop.get(job["id"]) == job
    listed = (await shop.client.get("/v1/jobs", params={"metadata.order": "7", "status": "succeeded"})).json()["data"]
    assert listed == [job]
    assert (await shop.post(f"/v1/jobs/{job['id']}/cancel", None)).json()["status"] == "succeeded"
    assert (await shop.post(f"/v1/jobs/{job['id']}/retry", None)).status_code == 409
    with psycopg.connect(postgres_url) as connection:
        (days,) = connection.execute(
            "SELECT expires_at - created_at = interval '30 days' FROM jobs WHERE id = %s", (job["id"],)
        ).fetchone() or (None,)
    assert days
    assert (await shop.client.delete(f"/v1/jobs/{job['id']}")).status_code == 204
    assert (await shop.client.get(f"/v1/jobs/{job['id']}")).status_code == 404


async def test_an_idempotency_key_stands_for_the_cached_job_too(shop: Shop) -> None:
    await shop.ask(text="red")
    body = {"input": {"collection": "shoes", "text": "red"}}
    first = await shop.post("/v1/search", body, **{"Idempotency-Key": "k"})
    assert cached(first.json())
    again = await shop.post("/v1/search", body, **{"Idempotency-Key": "k", "Prefer": "wait=1"})
    assert (again.status_code, again.headers["idempotency-replayed"]) == (200, "true")
    assert again.json() == first.json()
    other = {"input": {"collection": "shoes", "text": "blue"}}
    assert (await shop.post("/v1/search", other, **{"Idempotency-Key": "k"})).status_code == 409


async def test_only_the_searches_of_a_batch_that_are_known_have_ended(shop: Shop) -> None:
    await shop.ask(text="red")
    rings = len(bell(shop).rings)
    entries = [{"kind": "search", "input": {"collection": "shoes", "text": text}} for text in ("red", "new", "red")]
    entries.append({"kind": "embed", "input": {"texts": ["red"]}})
    jobs = (await shop.post("/v1/jobs/batch", {"jobs": entries})).json()["jobs"]
    assert [job["metrics"]["cached"] for job in jobs] == [True, False, True, False]
    assert [job["queue_position"] for job in jobs] == [None, 1, None, 1]
    assert sorted(queue for queue, *_ in bell(shop).rings[rings:]) == ["embed", "search"]
    rings = len(bell(shop).rings)
    known = await shop.post("/v1/jobs/batch", {"jobs": [entries[0]] * 100})
    assert all(cached(job) for job in known.json()["jobs"])
    assert len(bell(shop).rings) == rings, "there is nothing for a worker to do"


async def test_the_order_of_fields_and_written_defaults_do_not_matter(shop: Shop) -> None:
    await shop.ask(**QUERY)
    reverse: Any = {key: QUERY[key] for key in reversed(QUERY)}
    reverse["filter"] = dict(reversed(reverse["filter"].items()))
    assert cached(await shop.ask(**reverse, offset=0, include_vectors=False, min_score=None, model="fake"))


@pytest.mark.parametrize(
    "change",
    [
        {"text": "blue"},
        {"top_k": 4},
        {"offset": 1},
        {"min_score": 0.0},
        {"include_vectors": True},
        {"include_payload": False},
        {"filter": {"color": "red"}},
        {"filter": None},
        {"item": "a"},
        {"text_match": "red"},
        {"calibrated": True},
        {"query": [{"text": "green", "weight": 0.5}]},
    ],
    ids=lambda change: next(iter(change)),
)
async def test_another_search_is_another_search(shop: Shop, change: dict[str, Any]) -> None:
    await shop.ask(**QUERY)
    assert not cached(await shop.ask(**(QUERY | change)))
    assert cached(await shop.ask(**(QUERY | change)))


async def test_what_was_indexed_is_found_at_once(shop: Shop) -> None:
    await shop.ask(text="green")
    await shop.index(c="green")
    after = await shop.ask(text="green")
    assert (cached(after), found(after)[0]) == (False, "c")
    assert cached(await shop.ask(text="green"))


async def test_what_was_deleted_is_not_found_any_more(shop: Shop) -> None:
    assert found(await shop.ask(text="red")) == ["a", "b"]
    assert (await shop.client.delete("/v1/collections/shoes/items/a")).status_code == 204
    after = await shop.ask(text="red")
    assert (cached(after), found(after)) == (False, ["b"])


async def test_what_a_filter_deleted_is_not_found_any_more(shop: Shop) -> None:
    await shop.ask(text="red")
    body = {"filter": {"color": "red"}}
    assert (await shop.post("/v1/collections/shoes/items/delete", body)).json() == {"deleted": 1}
    after = await shop.ask(text="red")
    assert (cached(after), found(after)) == (False, ["b"])


async def test_a_new_payload_is_shown_at_once(shop: Shop) -> None:
    await shop.ask(text="red")
    patch = {"payload": {"color": "crimson"}}
    assert (await shop.client.patch("/v1/collections/shoes/items/a", json=patch)).status_code == 200
    after = await shop.ask(text="red")
    assert (cached(after), after["output"]["results"][0]["payload"]) == (False, {"color": "crimson"})


async def test_a_collection_made_anew_has_no_past(shop: Shop, postgres_url: str) -> None:
    """Also when its version has come to the same number."""
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        version = "SELECT version FROM collections WHERE deleted_at IS NULL"
        before = connection.execute(version).fetchone()
        await shop.ask(text="red")
        assert (await shop.client.delete("/v1/collections/shoes")).status_code == 202
        await shop.index(a="green", b="blue")
        assert connection.execute(version).fetchone() == before
    after = await shop.ask(text="red")
    assert not cached(after)
    assert {result["payload"]["color"] for result in after["output"]["results"]} == {"green", "blue"}


async def test_a_collection_embedded_anew_has_no_past(shop: Shop) -> None:
    before = await shop.ask(text="red")
    answer = await shop.post("/v1/collections/shoes/reembed", {"model": "other"})
    assert answer.status_code == 202
    assert cached(await shop.ask(text="red")), "the old vectors are there until the new ones take their place"
    await shop.worker.run("clip_batch")
    assert (await shop.get(answer.json()["id"]))["status"] == "succeeded"
    after = await shop.ask(text="red")
    assert (cached(after), found(after)) == (False, found(before))
    assert shop.worker.leases.models["other"].text_batches == [1]
    assert cached(await shop.ask(text="red"))


async def test_other_weights_under_the_same_alias_have_no_past(
    shop: Shop, pool: Pool, postgres_url: str, redis_url: str, tmp_path: Path, models: Path
) -> None:
    await shop.ask(text="red")
    weights = models.parent / "weights-fake" / "model.safetensors"
    status = weights.stat()
    weights.write_bytes(b"ekaf")
    os.utime(weights, ns=(status.st_atime_ns, status.st_mtime_ns + 1_000_000))
    assert cached(await shop.ask(text="red")), "the worker still has the old ones loaded"
    restarted = ShopWorker(pool, worker_settings(postgres_url, redis_url, tmp_path, models))
    try:
        restarted.services.preload(["fake"])
        shop.worker = restarted
        assert not cached(await shop.ask(text="red"))
        assert restarted.model.text_batches == [1, 1], "warmed up, and embedded: the vector is of other weights too"
        assert cached(await shop.ask(text="red"))
    finally:
        restarted.close()


async def test_another_model_behind_the_alias_has_no_past(shop: Shop, make_settings: Make, models: Path) -> None:
    await shop.ask(text="red")
    point_to_other_weights(models)
    body = {"input": {"collection": "shoes", "text": "red"}}
    async with running(make_settings(models_file=models)) as (app, client):
        answer = await Shop(app, client, shop.worker).post("/v1/search", body)
        assert answer.json()["status"] == "queued"


async def test_tenants_share_nothing(shop: Shop, make_key: Callable[..., str]) -> None:
    acme = Shop(shop.app, shop.client, shop.worker, headers={"Authorization": make_key(tenant="acme")})
    await acme.index(z="red")
    await shop.ask(text="red")
    theirs = await acme.ask(text="red")
    assert (cached(theirs), found(theirs)) == (False, ["z"])
    assert shop.worker.model.text_batches == [1, 1], "not even the vector of the text"


async def test_pictures_are_known_by_their_content_but_not_by_a_url(shop: Shop) -> None:
    first = await shop.ask(image=picture("blue"))
    assert found(first)[0] == "b"
    assert cached(await shop.ask(image=picture("blue")))
    assert cached(await shop.ask(image={"file": first["input"]["image"]["file"]}))
    assert not cached(await shop.ask(image=picture("red")))
    url = {"url": "https://shop.example/blue.png"}
    for _ in range(2):
        answer = await shop.post("/v1/search", {"input": {"collection": "shoes", "text": "red", "image": url}})
        assert answer.json()["status"] == "queued"


async def test_a_search_with_a_remark_in_its_log_is_not_kept(shop: Shop) -> None:
    for _ in range(2):
        job = await shop.ask(text="a text of rather more words than the fake model can read")
        assert not cached(job)
        assert "longer than the model reads" in job["logs"]


async def test_a_search_that_fails_is_not_kept(shop: Shop) -> None:
    for _ in range(2):
        assert (await shop.ask(item="nobody"))["error"]["code"] == "item_unknown"


async def test_fifty_at_once(shop: Shop) -> None:
    body = {"input": {"collection": "shoes", "text": "red"}}
    answers = await asyncio.gather(*(shop.post("/v1/search", body) for _ in range(50)))
    assert {answer.status_code for answer in answers} == {202}
    await shop.worker.run("search")
    jobs = await asyncio.gather(*(shop.get(answer.json()["id"]) for answer in answers))
    assert {tuple(found(job)) for job in jobs} == {("a", "b")}
    assert sum(shop.worker.model.text_batches) == 1, "equal texts are embedded once"
    again = await asyncio.gather(*(shop.post("/v1/search", body, Prefer="wait=5") for _ in range(50)))
    assert all(cached(answer.json()) for answer in again)
    assert len({answer.json()["id"] for answer in again}) == 50


async def test_an_entry_that_is_not_as_it_was_written_is_unknown(shop: Shop, valkey_client: "redis.Redis") -> None:
    before = set(valkey_client.keys(f"{PREFIX}result:*"))
    await shop.ask(text="red")
    (key,) = set(valkey_client.keys(f"{PREFIX}result:*")) - before
    whole = valkey_client.get(key)
    assert isinstance(whole, bytes)
    for wrong in (b"", b"{}", whole[:-1], whole + b" ", whole[:20] + b"X" + whole[21:]):
        valkey_client.set(key, wrong)
        assert not cached(await shop.ask(text="red"))
        assert cached(await shop.ask(text="red")), "the worker has written it anew"
    valkey_client.delete(key)
    valkey_client.lpush(key, whole)
    assert not cached(await shop.ask(text="red"))


async def test_entries_go_by_themselves(shop: Shop, valkey_client: "redis.Redis") -> None:
    before = set(valkey_client.keys(f"{PREFIX}*"))
    await shop.ask(text="red")
    lifetimes = [valkey_client.ttl(key) for key in set(valkey_client.keys(f"{PREFIX}*")) - before]
    assert len(lifetimes) == 2
    assert all(0 < lifetime <= 3600 for lifetime in lifetimes)


async def test_zero_seconds_switch_it_off(
    make_settings: Make,
    pool: Pool,
    models: Path,
    postgres_url: str,
    empty_redis_url: str,
    tmp_path: Path,
    valkey_client: "redis.Redis",
) -> None:
    worker = ShopWorker(pool, worker_settings(postgres_url, empty_redis_url, tmp_path, models, cache_seconds=0))
    async with running(make_settings(models_file=models, cache_seconds=0)) as (app, client):
        shop = Shop(app, client, worker)
        await shop.index(a="red")
        for _ in range(2):
            assert not cached(await shop.ask(text="red"))
    worker.close()
    assert valkey_client.keys(f"{PREFIX}*") == []


async def test_what_was_looked_for_is_counted(shop: Shop) -> None:
    await shop.ask(text="red")
    await shop.ask(text="red")
    lines = (await shop.client.get("/metrics")).text.splitlines()
    assert 'darkroom_cache_lookups_total{answer="hit"} 1.0' in lines
    assert 'darkroom_cache_lookups_total{answer="miss"} 1.0' in lines


def point_to_other_weights(models: Path) -> None:
    models.write_text(models.read_text().replace("local-dir:weights-fake", "local-dir:weights-other"))


def bell(shop: Shop) -> RecordingDoorbell:
    doorbell: RecordingDoorbell = shop.app.state.services.doorbell
    return doorbell
