"""No test here sends anything beyond loopback, and a refused address must not even be tried."""

import ipaddress
import socket
from collections.abc import Iterator

import pytest


class Attempts(list[object]):
    """Addresses that a connect was attempted to."""

    def __init__(self) -> None:
        super().__init__()
        self.allow_loopback = True
        self.strays: list[object] = []


@pytest.fixture(autouse=True)
def attempts(monkeypatch: pytest.MonkeyPatch) -> Iterator[Attempts]:
    """Every connect is noted; one beyond loopback fails the test, whatever the code makes of the error."""
    seen = Attempts()
    connect, lookup = socket.socket.connect, socket.getaddrinfo

    def guarded(self: socket.socket, address: tuple[str, int]) -> None:
        seen.append(address)
        if not (seen.allow_loopback and ipaddress.ip_address(address[0]).is_loopback):
            seen.strays.append(address)
            raise AssertionError(f"connect to {address}")
        connect(self, address)

    def numeric(host: str, *arguments: int) -> object:
        if not all(c in "0123456789abcdef.:" for c in host) and host != "localhost":
            seen.strays.append(host)
            raise AssertionError(f"name lookup of {host}")
        return lookup(host, *arguments)

    monkeypatch.setattr(socket.socket, "connect", guarded)
    monkeypatch.setattr(socket.socket, "connect_ex", guarded)
    monkeypatch.setattr(socket, "getaddrinfo", numeric)
    yield seen
    assert seen.strays == []


@pytest.fixture
def no_connect(attempts: Attempts) -> Iterator[Attempts]:
    """No connect at all, not even to loopback."""
    attempts.allow_loopback = False
    yield attempts
    assert attempts == []
