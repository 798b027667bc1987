"""The lean client against a server that splits its answers as it likes."""

import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest

from bench import load

ANSWER = b"HTTP/1.1 202 Accepted\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello"


class _Server:
    """Answers each request with the same bytes, a few at a time."""

    def __init__(self, answer: bytes, piece: int) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._answer = answer
        self._piece = piece
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        # A client that refuses an answer hangs up in the middle of it.
        with connection, contextlib.suppress(ConnectionError):
            while connection.recv(65_536):
                for start in range(0, len(self._answer), self._piece):
                    connection.sendall(self._answer[start : start + self._piece])

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(params=[1, 7, 1_000])
def server(request: pytest.FixtureRequest) -> Iterator[_Server]:
    server = _Server(ANSWER, request.param)
    yield server
    server.close()


def test_every_request_is_answered_once(server: _Server) -> None:
    done = load.run(server.port, [load.request("/x", b"{}")] * 25, connections=4, keep_bodies=True)
    assert len(done.latencies) == 25
    assert done.bodies == [b"hello"] * 25
    assert done.rate > 0


def test_another_status_is_an_error(server: _Server) -> None:
    with pytest.raises(load.Refused, match="202 Accepted"):
        load.run(server.port, [load.request("/x")], connections=1, expect=[200])


def test_a_request_says_how_long_its_body_is() -> None:
    assert load.request("/v1/noop", b"{}", headers={"Prefer": "wait=1"}) == (
        b"POST /v1/noop HTTP/1.1\r\nHost: 127.0.0.1\r\nPrefer: wait=1\r\n"
        b"Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
    )
    assert load.request("/health/live").startswith(b"GET /health/live HTTP/1.1\r\n")


def test_a_rate_spreads_requests_evenly(server: _Server) -> None:
    done = load.run(server.port, [load.request("/x", b"{}")] * 20, connections=4, rate=200)
    assert len(done.latencies) == 20
    assert done.seconds >= 18 / 200, "the last one is due after 19; uvloop's timers are up to a millisecond early"
    assert min(done.latencies) > 0
