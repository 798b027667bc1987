"""A lean HTTP/1.1 client for load: keep-alive, one request at a time a connection, no pipelining.

A general client costs more than the server it measures. This one only finds the end of an answer and its status;
`Load.client_share` says what it costs itself.
"""

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

import uvloop

_END_OF_HEAD = b"\r\n\r\n"
_LENGTH = b"content-length:"


class Refused(Exception):
    """The server answered otherwise than expected."""


@dataclass
class Load:
    """What became of some requests. `latencies` in seconds, in no order."""

    seconds: float
    cpu_seconds: float
    latencies: list[float] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Requests a second."""
        return len(self.latencies) / self.seconds

    @property
    def client_share(self) -> float:
        """Part of one core that the client itself took."""
        return self.cpu_seconds / self.seconds


def request(
    path: str, body: bytes | None = None, *, headers: Mapping[str, str] | None = None, method: str | None = None
) -> bytes:
    """A whole HTTP request."""
    lines = [f"{method or ('GET' if body is None else 'POST')} {path} HTTP/1.1", "Host: 127.0.0.1"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    if body is not None:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join(lines).encode() + _END_OF_HEAD + (body or b"")


def run(
    port: int,
    requests: Sequence[bytes],
    *,
    connections: int,
    expect: Sequence[int] = (200, 202),
    keep_bodies: bool = False,
    rate: float | None = None,
) -> Load:
    """Send all requests over so many connections, each sending its next when the last is answered.

    Args:
        rate: requests a second at most, evenly spread. One that comes late, as every connection was busy, has waited
            since it was due.

    Raises:
        Refused: an answer had another status than expected.
    """
    return uvloop.run(_run(port, requests, connections, frozenset(expect), keep_bodies, rate))


async def _run(
    port: int, requests: Sequence[bytes], connections: int, expect: frozenset[int], keep: bool, rate: float | None
) -> Load:
    loop = asyncio.get_running_loop()
    load = Load(0.0, 0.0)
    todo = ((request, number / rate if rate else 0.0) for number, request in enumerate(requests))
    clients = [_Client(todo, load, expect, keep) for _ in range(min(connections, len(requests)))]
    for client in clients:
        await loop.create_connection(lambda client=client: client, "127.0.0.1", port)  # type: ignore[misc]
    started, cpu = time.perf_counter(), time.process_time()
    for client in clients:
        client.started = started
        client.send_next()
    try:
        await asyncio.gather(*(client.done for client in clients))
    finally:
        load.seconds, load.cpu_seconds = time.perf_counter() - started, time.process_time() - cpu
        for client in clients:
            client.close()
    return load


class _Client(asyncio.Protocol):
    """One connection."""

    def __init__(self, todo: Iterator[tuple[bytes, float]], load: Load, expect: frozenset[int], keep: bool) -> None:
        self._todo = todo
        self._load = load
        self._expect = expect
        self._keep = keep
        self._buffer = b""
        self._end = -1
        self._sent_at = 0.0
        self.started = 0.0
        """On the clock of `time.perf_counter`: what requests are due by."""
        self._transport: asyncio.Transport | None = None
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but its class

    def send_next(self) -> None:
        following, due = next(self._todo, (None, 0.0))
        if following is None:
            if not self.done.done():
                self.done.set_result(None)
            return
        early = self.started + due - time.perf_counter() if due else 0.0
        if early > 0:
            asyncio.get_running_loop().call_later(early, self._send, following)
        else:
            self._send(following)
            self._sent_at += early

    def _send(self, request: bytes) -> None:
        if self._transport is not None and not self.done.done():
            self._sent_at = time.perf_counter()
            self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._buffer = self._buffer + data if self._buffer else data
        if self._end < 0 and not self._read_head():
            return
        if len(self._buffer) < self._end:
            return
        self._load.latencies.append(time.perf_counter() - self._sent_at)
        if self._keep:
            self._load.bodies.append(self._buffer[self._buffer.find(_END_OF_HEAD) + 4 : self._end])
        self._buffer, self._end = b"", -1
        self.send_next()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(Refused("the server closed the connection"))

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def _read_head(self) -> bool:
        """Find where the answer ends; False while its head is not all here."""
        end = self._buffer.find(_END_OF_HEAD)
        if end < 0:
            return False
        head = self._buffer[:end].lower()
        at = head.find(_LENGTH)
        if int(head[9:12]) not in self._expect or at < 0:
            self._refuse()
            return False
        line_end = head.find(b"\r", at)
        self._end = end + 4 + int(head[at + len(_LENGTH) : line_end if line_end >= 0 else None])
        return True

    def _refuse(self) -> None:
        if not self.done.done():
            self.done.set_exception(Refused(self._buffer[:600].decode(errors="replace")))
