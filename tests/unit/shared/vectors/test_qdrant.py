"""What goes over the wire to a Qdrant server, and what its refusals become. Results are the contract suite's matter."""

import json
import threading
import uuid
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest
from qdrant_client import QdrantClient

from shared.errors import ConfigurationError, DependencyUnavailable, InvalidInput
from shared.vectors.fencing import Fencing
from shared.vectors.protocol import CollectionRef, Fence, Point
from shared.vectors.qdrant import QdrantVectorStore
from shared.vectors.qdrant_points import INDEXES

COLLECTION = CollectionRef(uuid.UUID(int=7), 3)
PATH = f"/collections/darkroom_{COLLECTION.id.hex}"
UPDATED = {"operation_id": 1, "status": "completed"}


class Server:
    """Plays a Qdrant server: `answers` by method and path (status, result), `requests` as they came."""

    def __init__(self) -> None:
        self.answers: dict[tuple[str, str], list[tuple[int, Any]]] = {}
        self.requests: list[tuple[str, str, Any]] = []
        self.version = "1.16.0"

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        self.requests.append((method, path, body))
        if path == "/":
            return 200, {"title": "qdrant", "version": self.version}
        queued = self.answers.get((method, path), [(200, UPDATED)])
        status, result = queued.pop(0) if len(queued) > 1 else queued[0]
        return status, {"result": result, "status": "ok", "time": 0.1}


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def store(server: Server) -> Iterator[QdrantVectorStore]:
    class Handler(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            length = int(self.headers.get("content-length", 0))
            body = json.loads(self.rfile.read(length)) if length else None
            status, answer = server.answer(self.command, self.path.split("?")[0], body)
            text = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_PUT = do_POST = do_DELETE = handle_any

        def log_message(self, format: str, *args: Any) -> None:
            """Quiet."""

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    client = QdrantClient(url=f"http://127.0.0.1:{http.server_port}", check_compatibility=False)
    yield QdrantVectorStore(client, Unfenced())
    client.close()
    http.shutdown()
    thread.join()
    http.server_close()


class Unfenced(Fencing):
    """No write here is fenced, and no collection has a row."""

    def __init__(self) -> None:
        """Without Postgres."""

    def writing(self, collection: CollectionRef, fence: Fence | None) -> AbstractContextManager[None]:
        assert fence is None
        return nullcontext()


def point(version: int = 2**31) -> Point:
    return Point("shoe", np.array([1, 0, 0], dtype=np.float32), {"n": 1}, version=version)


def test_a_write_is_conditional_on_the_version(server: Server, store: QdrantVectorStore) -> None:
    store.upsert(COLLECTION, [point()])

    method, path, body = server.requests[-1]
    assert (method, path) == ("PUT", f"{PATH}/points")
    (stored,) = body["points"]
    assert stored["id"] == str(uuid.uuid5(COLLECTION.id, "shoe"))
    nothing = dict.fromkeys(("text", "words", "hash", "image", "fingerprint"))
    assert stored["payload"] == {"id": "shoe", "payload": {"n": 1}, **nothing, "high": 2, "low": 0}
    lower, same = body["update_filter"]["should"]
    assert (lower["key"], lower["range"]["lt"]) == ("high", 2)
    assert [condition["key"] for condition in same["must"]] == ["high", "low"]


def test_a_delete_leaves_a_point_without_a_vector(server: Server, store: QdrantVectorStore) -> None:
    store.delete(COLLECTION, ["shoe"], version=5)
    (mark,) = server.requests[-1][2]["points"]
    assert mark["vector"] == {}
    assert mark["payload"]["deleted"] is True


def test_a_server_that_would_ignore_the_condition_is_refused(server: Server, store: QdrantVectorStore) -> None:
    server.version = "1.15.5"
    with pytest.raises(ConfigurationError, match=r"1\.16 or later"):
        store.upsert(COLLECTION, [point()])
    assert [method for method, _, _ in server.requests] == ["GET"]


def test_a_missing_collection_is_created_by_a_write(server: Server, store: QdrantVectorStore) -> None:
    server.answers[("PUT", f"{PATH}/points")] = [(404, None), (200, UPDATED)]
    server.answers[("GET", f"{PATH}/exists")] = [(200, {"exists": False})]
    server.answers[("PUT", PATH)] = [(409, None)]  # another process creates it at the same time

    store.upsert(COLLECTION, [point()])

    writes = [path for method, path, _ in server.requests if method == "PUT"]
    assert writes == [f"{PATH}/points", PATH, *[f"{PATH}/index"] * len(INDEXES), f"{PATH}/points"]


def test_declared_fields_get_indexes(server: Server, store: QdrantVectorStore) -> None:
    server.answers[("GET", f"{PATH}/exists")] = [(200, {"exists": False})]
    server.answers[("PUT", PATH)] = [(200, True)]
    schema = {"brand": "keyword", "size.eu": "number", "on sale": "boolean", "since": "datetime"}
    store.create_collection(COLLECTION, schema)

    made = {body["field_name"]: body["field_schema"] for _, path, body in server.requests if path == f"{PATH}/index"}
    assert (
        made.items()
        >= {
            "words": "keyword",
            "payload.brand": "keyword",
            "payload.size.eu": "float",
            'payload."on sale"': "bool",
            "payload.since": "datetime",
        }.items()
    )


def test_indexes_that_a_collection_lacks_are_made_when_it_is_created_again(
    server: Server, store: QdrantVectorStore
) -> None:
    """Whoever made it may have died before it had its indexes."""
    has = {key: {"data_type": type.value, "points": 0} for key, type in INDEXES.items() if key != "words"}
    server.answers[("GET", f"{PATH}/exists")] = [(200, {"exists": True})]
    server.answers[("GET", PATH)] = [(200, collection_info(has))]
    store.create_collection(COLLECTION)
    assert [body["field_name"] for method, path, body in server.requests if method == "PUT"] == ["words"]


def collection_info(payload_schema: dict[str, Any]) -> dict[str, Any]:
    hnsw = {"m": 16, "ef_construct": 100, "full_scan_threshold": 10_000}
    optimizer = {"deleted_threshold": 0.2, "vacuum_min_vector_number": 1_000, "default_segment_number": 0}
    config = {"params": {}, "hnsw_config": hnsw, "optimizer_config": {**optimizer, "flush_interval_sec": 5}}
    state = {"status": "green", "optimizer_status": "ok", "segments_count": 1}
    return {**state, "config": config, "payload_schema": payload_schema}


def test_a_text_search_ranks_the_rarest_words_first_and_no_more_than_it_may() -> None:
    warnings.filterwarnings("ignore", message="Local mode is not recommended")
    small = QdrantVectorStore(QdrantClient(":memory:"), Unfenced(), index_payloads=False, max_candidates=3)
    texts = ["rare"] * 2 + ["frequent"] * 5 + ["rare frequent"]
    axis = np.array([1, 0, 0], dtype=np.float32)
    small.upsert(COLLECTION, [Point(f"{n}", axis, text=text) for n, text in enumerate(texts)])
    assert [hit.id for hit in small.search_text(COLLECTION, ["frequent", "rare"], top_k=10)] == ["7", "0", "1"]
    assert len(small.search_text(COLLECTION, ["frequent"], top_k=10)) == 3


def test_of_many_that_tie_only_what_is_shown_is_read_whole(server: Server, store: QdrantVectorStore) -> None:
    def scored(count: int) -> tuple[int, Any]:
        points = [{"id": n, "version": 0, "score": 0.5, "payload": {"id": f"{n:03}"}} for n in reversed(range(count))]
        return 200, {"points": points}

    whole = {"id": "000", "payload": {"n": 1}, "text": "red", "high": 0, "low": 1}
    server.answers[("POST", f"{PATH}/points/query")] = [scored(33), scored(66), scored(100)]
    server.answers[("POST", f"{PATH}/points")] = [(200, [{"id": 0, "payload": whole}])]

    (hit,) = store.search(COLLECTION, np.array([1, 0, 0], dtype=np.float32), top_k=1)

    assert (hit.id, hit.score, hit.payload, hit.text) == ("000", 0.5, {"n": 1}, "red")
    queries = [body for _, path, body in server.requests if path == f"{PATH}/points/query"]
    assert [(body["limit"], body["with_payload"]) for body in queries] == [(33, True), (66, ["id"]), (132, ["id"])]
    (read,) = [body for _, path, body in server.requests if path == f"{PATH}/points"]
    assert read["ids"] == [str(uuid.uuid5(COLLECTION.id, "000"))]


def test_a_missing_collection_reads_as_empty(server: Server, store: QdrantVectorStore) -> None:
    server.answers[("POST", f"{PATH}/points/count")] = [(404, None)]
    assert store.count(COLLECTION) == 0


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_server_in_trouble(server: Server, store: QdrantVectorStore, status: int) -> None:
    server.answers[("POST", f"{PATH}/points/count")] = [(status, None)]
    with pytest.raises(DependencyUnavailable):
        store.count(COLLECTION)


def test_no_server() -> None:
    client = QdrantClient(url="http://127.0.0.1:1", check_compatibility=False)
    with pytest.raises(DependencyUnavailable):
        QdrantVectorStore(client, Unfenced()).ping()


def test_a_cursor_from_elsewhere(store: QdrantVectorStore) -> None:
    with pytest.raises(InvalidInput):
        store.list_items(COLLECTION, cursor="page-2")
