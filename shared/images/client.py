"""The one HTTP client for addresses that users give: every socket goes to an address that was checked.

Two things are added to `ssrfguard`'s transport, which resolves once and connects to what it checked: a budget of wall
clock time that holds in every phase (name lookup, connect, TLS, headers, body), however slowly a server drips, and a
stop check several times a second.
"""

import math
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from types import TracebackType
from typing import Any, Self

import httpcore
import httpx
from ssrfguard import Policy
from ssrfguard.httpx import SafeBackend, SafeTransport

from shared.errors import JobCanceled
from shared.images.addresses import AddressGuard, guard_for

_Answer = tuple[int, int, int, str, tuple[Any, ...]]
Resolver = Callable[..., Iterable[_Answer]]
"""The shape of `socket.getaddrinfo`. Whatever it answers is checked before it is used."""

_SLICE = 0.25
"""Seconds between two looks at the stop check while a read waits."""
_LOOKUP_SECONDS = 5.0
_active = threading.local()


def _never() -> bool:
    return False


@dataclass(frozen=True)
class Budget:
    """How long a request may take in all. `deadline`: seconds of `time.monotonic()`."""

    deadline: float = math.inf
    cancelled: Callable[[], bool] = _never

    @property
    def spent(self) -> bool:
        return time.monotonic() >= self.deadline

    def remaining(self) -> float:
        """Seconds left, always positive. Raises JobCanceled when asked to stop, `httpcore.ReadTimeout` at the end."""
        if self.cancelled():
            raise JobCanceled("stopped while a picture was being fetched")
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise httpcore.ReadTimeout("the time for the whole request is over")
        return left


_UNLIMITED = Budget()


@contextmanager
def spending(budget: Budget) -> Iterator[None]:
    """Hold everything that this thread does over a SafeClient to a budget.

    Kept by thread, since a pooled connection outlives the request that opened it; the synchronous client does all
    its work in the calling thread.
    """
    before = _budget()
    _active.budget = budget
    try:
        yield
    finally:
        _active.budget = before


def _budget() -> Budget:
    return getattr(_active, "budget", _UNLIMITED)


@cache
def _tls() -> ssl.SSLContext:
    """Trusts certifi's authorities. Shared, since reading them takes tens of milliseconds."""
    return httpx.create_ssl_context(trust_env=False)


class SafeClient:
    """Pooled connections to what an allow-list permits. Share one among the threads of a process, made after a fork.

    It keeps no cookies, follows no redirects, reads nothing from the environment and uses no proxy.
    """

    def __init__(
        self, allow: tuple[str, ...] = (), *, max_connections: int = 64, resolver: Resolver | None = None
    ) -> None:
        self.allow = allow
        self.guard: AddressGuard = guard_for(allow)
        tls = _tls()
        limits = httpx.Limits(
            max_connections=max_connections, max_keepalive_connections=max_connections // 4, keepalive_expiry=5.0
        )
        lookup = _BoundedLookup(resolver or socket.getaddrinfo)
        self._public = _Transport(self.guard.public, lookup, tls, limits)
        self._named = None if self.guard.named is None else _Transport(self.guard.named, lookup, tls, limits)

    def send(self, request: httpx.Request) -> httpx.Response:
        """Send one request and return its response with the body still unread; close it in the end.

        Raises what the guard raises for the URL (see `AddressGuard.check`), `ssrfguard.SSRFGuardError` for an address
        behind the name, `httpx.TransportError` for the network, JobCanceled for the budget's stop check.
        """
        target = self.guard.check(str(request.url))
        policy = self.guard.policy_for(target.raw_host.decode("ascii"))
        transport = self._named if self._named is not None and policy is self.guard.named else self._public
        response = transport.handle_request(request)
        response.request = request
        return response

    def close(self) -> None:
        self._public.close()
        if self._named is not None:
            self._named.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class _Transport(SafeTransport):
    def __init__(self, policy: Policy, resolver: Resolver, tls: ssl.SSLContext, limits: httpx.Limits) -> None:
        super().__init__(policy=policy, resolver=resolver, verify=tls, trust_env=False, limits=limits)
        # Replaced as `ssrfguard` replaces httpx's own: the backend is a public argument of the pool.
        self._pool = httpcore.ConnectionPool(
            ssl_context=tls,
            max_connections=limits.max_connections,
            max_keepalive_connections=limits.max_keepalive_connections,
            keepalive_expiry=limits.keepalive_expiry,
            network_backend=_Backend(policy=policy, resolver=resolver),
        )


class _Backend(SafeBackend):
    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        # An attempt has its share of what is left, so that all of them together stay within it.
        share = _budget().remaining() / self.policy.max_connection_attempts
        stream = super().connect_tcp(host, port, _shorter(timeout, share), local_address, socket_options)
        return _BudgetStream(stream)


class _BudgetStream(httpcore.NetworkStream):
    """httpcore's own stream, each wait cut to what is left of the calling thread's budget."""

    def __init__(self, inner: httpcore.NetworkStream) -> None:
        self._inner = inner

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        until = math.inf if timeout is None else time.monotonic() + timeout
        while True:
            left = min(_budget().remaining(), until - time.monotonic())
            if left <= 0:
                raise httpcore.ReadTimeout("the server stopped sending")
            try:
                return self._inner.read(max_bytes, min(_SLICE, left))
            except httpcore.ReadTimeout:
                continue

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._inner.write(buffer, _shorter(timeout, _budget().remaining()))

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        left = _shorter(timeout, _budget().remaining())
        return _BudgetStream(self._inner.start_tls(ssl_context, server_hostname, left))

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


class _BoundedLookup:
    """A resolver that gives up in time: `getaddrinfo` itself takes no timeout, and some name servers never answer."""

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver

    def __call__(self, host: str, port: int, family: int, kind: int, proto: int, flags: int) -> Iterable[_Answer]:
        if flags & socket.AI_NUMERICHOST:
            return self._resolver(host, port, family, kind, proto, flags)
        # A daemon thread of its own, not a pool: a stuck lookup cannot be stopped, and must not hold up the next one.
        answer: Future[list[_Answer]] = Future()
        arguments = (answer, host, port, family, kind, proto, flags)
        threading.Thread(target=self._look_up, args=arguments, name="lookup", daemon=True).start()
        try:
            return answer.result(min(_LOOKUP_SECONDS, _budget().remaining()))
        except TimeoutError:
            raise socket.gaierror(socket.EAI_AGAIN, "the name server did not answer in time") from None

    def _look_up(self, answer: Future[list[_Answer]], *arguments: Any) -> None:
        try:
            answer.set_result([*self._resolver(*arguments)])
        except (OSError, ValueError) as error:
            answer.set_exception(error)


def _shorter(timeout: float | None, left: float) -> float | None:
    shorter = left if timeout is None else min(timeout, left)
    return None if math.isinf(shorter) else shorter
