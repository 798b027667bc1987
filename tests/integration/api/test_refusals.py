"""Every way in which a request is refused: always a problem, always before anything was stored."""

import gzip
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest

from tests.integration.api.conftest import FakeWorker, Make, running

JSON = {"Content-Type": "application/json"}


def problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert set(body) == {"type", "title", "status", "detail", "code", "errors", "request_id"}
    assert (body["status"], body["code"]) == (status, code)
    assert body["request_id"] == answer.headers["x-request-id"]
    return body


def paths(answer: httpx.Response) -> list[str]:
    return [error["path"] for error in answer.json()["errors"]]


@pytest.fixture
def untouched(worker: FakeWorker) -> Iterator[None]:
    """What was refused left nothing behind."""
    yield
    assert worker.rows("SELECT (SELECT count(*) FROM jobs), (SELECT count(*) FROM files)") == [(0, 0)]


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({"input": {"color": 1}}, ["input.color"]),
        ({"input": {}, "colour": 1}, ["colour"]),
        ({"input": {"sleep_ms": "soon"}}, ["input.sleep_ms"]),
        ({"input": {"sleep_ms": True}}, ["input.sleep_ms"]),
        (
            {"input": {"sleep_ms": -1, "fail": "often"}, "priority": "huge"},
            ["priority", "input.sleep_ms", "input.fail"],
        ),
        ({}, ["input"]),
        ({"input": None}, ["input"]),
        ({"input": {}, "webhook": "https://example.com"}, ["webhook"]),
        ({"input": {}, "metadata": {"a": 1}}, ["metadata.a"]),
        ({"input": {}, "max_attempts": 0}, ["max_attempts"]),
        ({"input": {}, "timeout_seconds": 3601}, ["timeout_seconds"]),
        ({"input": {"steps": 123456789012345678901234567890}}, ["input.steps"]),
    ],
)
async def test_invalid_input_is_named_by_path(
    client: httpx.AsyncClient, untouched: None, body: Any, where: list[str]
) -> None:
    answer = await client.post("/v1/noop", json=body)
    problem(answer, 422, "invalid_input")
    assert paths(answer) == where


@pytest.mark.parametrize("body", [[], 7, "x", False])
async def test_a_body_that_is_no_object_is_invalid(client: httpx.AsyncClient, untouched: None, body: Any) -> None:
    problem(await client.post("/v1/noop", json=body), 422, "invalid_input")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b'{"input": {}',
        b"{'input': {}}",
        b'{"input": {"sleep_ms": NaN}}',
        b'{"input": {"sleep_ms": Infinity}}',
        b'{"input": {"sleep_ms": 1e400}}',
        b'{"input": {}, "metadata": {"a": "\xff"}}',
        b'{"input": {}, "metadata": {"a": "\x00"}}',
        b"\xef\xbb\xbf{}",
        b"[" * 100_000,
        b'{"a":' * 2_000 + b"1" + b"}" * 2_000,
    ],
)
async def test_a_body_that_is_no_json_is_malformed(client: httpx.AsyncClient, untouched: None, body: bytes) -> None:
    problem(await client.post("/v1/noop", content=body, headers=JSON), 400, "malformed")


@pytest.mark.parametrize(
    ("body", "where"),
    [
        (rb'{"input": {}, "metadata": {"a": "x\u0000y"}}', "metadata.a"),
        (rb'{"input": {}, "metadata": {"a": "\ud800"}}', "metadata.a"),
        (rb'{"input": {}, "metadata": {"a": "\uDC00\ud800"}}', "metadata.a"),
        (rb'{"input": {}, "metadata": {"a\u0000": "x"}}', r"metadata.a\x00"),
        (rb'{"input": {"list": [["\u0000"]]}}', "input.list.0.0"),
    ],
)
async def test_text_that_cannot_be_stored_is_named(
    client: httpx.AsyncClient, untouched: None, body: bytes, where: str
) -> None:
    answer = await client.post("/v1/noop", content=body, headers=JSON)
    problem(answer, 422, "invalid_input")
    assert paths(answer) == [where]


async def test_a_pair_of_surrogates_is_a_character(client: httpx.AsyncClient) -> None:
    body = rb'{"input": {}, "metadata": {"a": "\ud83d\ude00 \\u0000"}}'
    answer = await client.post("/v1/noop", content=body, headers=JSON)
    assert answer.status_code == 202
    assert answer.json()["metadata"] == {"a": "😀 \\u0000"}


@pytest.mark.parametrize("depth", [70, 240, 252, 300, 1_000])
async def test_deep_nesting_is_refused(client: httpx.AsyncClient, untouched: None, depth: int) -> None:
    payload = b'{"a":' * depth + b"1" + b"}" * depth
    item = b'{"id": "a", "image": "https://example.com/a.png", "payload": ' + payload + b"}"
    body = b'{"input": {"collection": "c", "items": [' + item + b"]}}"
    problem(await client.post("/v1/index", content=body, headers=JSON), 422, "invalid_input")


async def test_a_large_payload_is_refused(client: httpx.AsyncClient, untouched: None) -> None:
    item = {"id": "a", "image": "https://example.com/a.png", "payload": {"a": "x" * 16_384}}
    answer = await client.post("/v1/index", json={"input": {"collection": "c", "items": [item]}})
    assert paths(answer) == ["input.items.0.payload"]


@pytest.mark.parametrize(
    "content_type", [None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"]
)
async def test_only_json_is_taken(client: httpx.AsyncClient, untouched: None, content_type: str | None) -> None:
    headers = {"Content-Type": content_type} if content_type else {}
    problem(await client.post("/v1/noop", content=b'{"input": {}}', headers=headers), 415, "unsupported_content_type")


async def test_other_charsets_are_refused(client: httpx.AsyncClient, untouched: None) -> None:
    headers = {"Content-Type": "application/json; charset=latin-1"}
    problem(await client.post("/v1/noop", content=b"{}", headers=headers), 415, "unsupported_content_type")


async def test_compressed_bodies_are_no_json(client: httpx.AsyncClient, untouched: None) -> None:
    problem(await client.post("/v1/noop", content=gzip.compress(b"{}"), headers=JSON), 400, "malformed")


async def test_a_body_over_the_cap_is_refused_declared_or_not(make_settings: Make) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b" " * 1000

    async with running(make_settings(max_body_bytes=10_000)) as (_, client):
        problem(await client.post("/v1/noop", content=b" " * 10_001, headers=JSON), 413, "too_large")
        problem(await client.post("/v1/noop", content=chunks(), headers=JSON), 413, "too_large")


async def test_unknown_addresses_and_methods_are_problems(client: httpx.AsyncClient) -> None:
    for path in ("/", "/v1/paint", "/v1/jobs/", "/v2/noop", "/v1/noop/x"):
        problem(await client.get(path), 404, "not_found")
    answer = await client.put("/v1/noop")
    assert problem(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == "POST"


@pytest.mark.parametrize("id", ["x", "123", "018f-", "%00", "00000000-0000-0000-0000-00000000000g"])
async def test_an_id_that_is_none_is_not_found(client: httpx.AsyncClient, id: str) -> None:
    for method, path in (("GET", ""), ("POST", "/cancel"), ("POST", "/retry"), ("DELETE", "")):
        problem(await client.request(method, f"/v1/jobs/{id}{path}"), 404, "not_found")


async def test_the_noop_kind_is_off_unless_switched_on(make_settings: Make) -> None:
    async with running(make_settings(enable_noop=False)) as (_, client):
        problem(await client.post("/v1/noop", json={"input": {}}), 404, "not_found")
        answer = await client.post("/v1/jobs/batch", json={"jobs": [{"kind": "noop", "input": {}}]})
        assert paths(answer) == ["jobs.0.kind"]
        assert "/v1/noop" not in (await client.get("/openapi.json")).json()["paths"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Cancel-After", "soon"),
        ("Cancel-After", "0s"),
        ("Cancel-After", "-1s"),
        ("Cancel-After", "31d"),
        ("Idempotency-Key", ""),
        ("Idempotency-Key", "x" * 256),
        ("Idempotency-Key", b"\xff"),
    ],
)
async def test_a_wrong_header_is_named(
    client: httpx.AsyncClient, untouched: None, name: str, value: str | bytes
) -> None:
    answer = await client.post("/v1/noop", json={"input": {}}, headers={name: value})
    problem(answer, 422, "invalid_input")
    assert paths(answer) == [name]


async def test_an_unknown_model_is_refused(client: httpx.AsyncClient, untouched: None) -> None:
    answer = await client.post("/v1/embed", json={"input": {"texts": ["a"], "model": "gpt"}})
    problem(answer, 422, "model_unknown")
    assert paths(answer) == ["input.model"]


async def test_a_wrong_filter_is_named_by_path(client: httpx.AsyncClient, untouched: None) -> None:
    body = {"collection": "c", "text": "a", "filter": {"price": {"above": 3}, "color": {"in": 7}}}
    answer = await client.post("/v1/search", json={"input": body})
    problem(answer, 422, "invalid_input")
    assert sorted(paths(answer)) == ["input.filter.color.in", "input.filter.price.above"]


async def test_many_faults_are_capped_and_counted(client: httpx.AsyncClient, untouched: None) -> None:
    answer = await client.post("/v1/jobs/batch", json={"jobs": [{"kind": "x"}] * 1000})
    assert len(paths(answer)) == 100
    assert "1000" in answer.json()["detail"]


async def test_a_bug_is_a_problem_without_a_trace(client: httpx.AsyncClient, app: Any) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("secret detail")

    app.state.services.intake.check = broken
    body = problem(await client.post("/v1/noop", json={"input": {}}), 500, "internal")
    assert "secret" not in str(body)


async def test_request_ids_are_taken_over_when_sane(client: httpx.AsyncClient) -> None:
    answer = await client.get("/v1/nothing", headers={"X-Request-ID": "trace-1.2:3"})
    assert problem(answer, 404, "not_found")["request_id"] == "trace-1.2:3"
    for insane in ("a b", "x" * 129, "<script>", "a\tb"):
        answer = await client.get("/v1/nothing", headers={"X-Request-ID": insane})
        assert answer.headers["x-request-id"].startswith("req_")


async def test_other_origins_are_let_in_by_setting_only(make_settings: Make) -> None:
    origin = {"Origin": "https://shop.example"}
    ask = origin | {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    async with running(make_settings()) as (_, client):
        assert "access-control-allow-origin" not in (await client.get("/health/live", headers=origin)).headers
    async with running(make_settings(cors_origins=("https://shop.example",))) as (_, client):
        answer = await client.get("/v1/nothing", headers=origin)
        assert answer.headers["access-control-allow-origin"] == "https://shop.example"
        assert "access-control-allow-origin" in (await client.options("/v1/noop", headers=ask)).headers
        foreign = await client.get("/health/live", headers={"Origin": "https://evil.example"})
        assert "access-control-allow-origin" not in foreign.headers
