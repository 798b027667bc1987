"""The one safe fetch: nothing else in the project opens an address that a user gives.

Each hop's address is resolved once, checked, and connected to as checked (`shared/images/client.py`,
`shared/images/addresses.py`); time and bytes are capped whatever the server does.
"""

import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx
from ssrfguard import SSRFGuardError

from shared.errors import ErrorCode, PermanentJobError, RetryableJobError
from shared.images.addresses import forbidden_host, guard_for
from shared.images.body import read_body
from shared.images.client import Budget, SafeClient, spending

_HEADERS = {
    "User-Agent": "Darkroom (picture fetch)",
    "Accept": "image/avif,image/webp,image/heic,image/*;q=0.9,*/*;q=0.5",
    "Accept-Encoding": "identity",
}
_TRY_AGAIN = frozenset({408, 425, 429})
_LONGEST_RETRY = 3600.0
_NO_SUCH_NAME = frozenset({socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)})


@dataclass(frozen=True)
class FetchPolicy:
    """What one fetch may cost and where it may go. Times in seconds."""

    max_bytes: int = 25_000_000
    connect_timeout: float = 5.0
    read_timeout: float = 10.0
    """The longest silence of a server."""
    total_timeout: float = 20.0
    """Wall clock for all hops together."""
    max_redirects: int = 3
    allow: tuple[str, ...] = ()
    """Host names, addresses and CIDR networks that are open besides the public internet (`DARKROOM_FETCH_ALLOW`)."""


@dataclass(frozen=True)
class Fetched:
    """A file as its server sent it. `content_type` is the server's claim; the decoder does not believe it."""

    data: bytes
    content_type: str | None
    final_url: str


def check_url(url: str, policy: FetchPolicy) -> None:
    """Refuse a URL that `fetch` would refuse without asking the network. A name is not resolved, so `fetch` may still.

    Raises PermanentJobError: `invalid_input` for what is no URL, `image_forbidden_address`.
    """
    guard_for(policy.allow).refuse(url)


def fetch(
    url: str,
    policy: FetchPolicy,
    *,
    client: SafeClient | None = None,
    deadline: float | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Fetched:
    """Download a picture from an address that a user gave. Safe to call from many threads over one client.

    `client`: pooled connections made with the same allow-list; without one, a client lives for this call.
    `deadline`: an earlier end than the policy's, in seconds of `time.monotonic()`. `cancelled` is asked several times
    a second; once it says True the fetch stops.

    Raises PermanentJobError (`invalid_input`, `image_forbidden_address`, `image_too_large`, or `image_unreachable` for
    4xx), RetryableJobError `image_unreachable` (time-outs, connection errors, 5xx, 429; `retry_in` from Retry-After,
    at most an hour), JobCanceled.
    """
    if client is None:
        with SafeClient(policy.allow) as own:
            return fetch(url, policy, client=own, deadline=deadline, cancelled=cancelled)
    if client.allow != policy.allow:
        raise ValueError("the client was made with another allow-list than the policy's")
    end = time.monotonic() + policy.total_timeout
    budget = Budget(min(end, deadline) if deadline is not None else end, cancelled or (lambda: False))
    with spending(budget):
        return _follow(url, policy, client, budget)


def _follow(url: str, policy: FetchPolicy, client: SafeClient, budget: Budget) -> Fetched:
    for _ in range(policy.max_redirects + 1):
        target = client.guard.check(url)
        with _network_faults(target.host, budget), _get(target, policy, client, budget) as response:
            if response.has_redirect_location:
                url = str(target.join(response.headers["location"]))
                continue
            _refuse_status(response, target.host)
            content_type = response.headers.get("content-type")
            return Fetched(read_body(response, policy.max_bytes), content_type, str(target))
    message = f"The picture's address redirects more than {policy.max_redirects} times. Give its final address."
    raise PermanentJobError(ErrorCode.IMAGE_UNREACHABLE, message)


@contextmanager
def _get(target: httpx.URL, policy: FetchPolicy, client: SafeClient, budget: Budget) -> Iterator[httpx.Response]:
    timeout = httpx.Timeout(policy.read_timeout, connect=policy.connect_timeout, pool=budget.remaining())
    request = httpx.Request("GET", target, headers=_HEADERS, extensions={"timeout": timeout.as_dict()})
    response = client.send(request)
    try:
        yield response
    finally:
        response.close()


def _refuse_status(response: httpx.Response, host: str) -> None:
    status = response.status_code
    if status == 200:
        return
    message = f"The picture's server ({host}) answered {status}"
    if status in _TRY_AGAIN or status >= 500:
        retry_in = _retry_after(response.headers.get("retry-after"))
        raise RetryableJobError(ErrorCode.IMAGE_UNREACHABLE, f"{message}.", retry_in=retry_in)
    advice = {
        401: "It asks for credentials: use a signed URL, or send the picture inline or as a file",
        403: "It refuses access: use a signed URL, or send the picture inline or as a file",
        404: "There is nothing at this address: correct it",
        410: "The picture is gone: give another address",
    }.get(status, "Give an address that answers 200 with the picture")
    raise PermanentJobError(ErrorCode.IMAGE_UNREACHABLE, f"{message}. {advice}.")


def _retry_after(value: str | None) -> float | None:
    """Seconds of a Retry-After header (RFC 9110, section 10.2.3): a number, or a date by this machine's clock."""
    if value is None:
        return None
    value = value.strip()
    if value.isdecimal():
        return min(float(value), _LONGEST_RETRY)
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return min(max(0.0, (moment - datetime.now(UTC)).total_seconds()), _LONGEST_RETRY)


@contextmanager
def _network_faults(host: str, budget: Budget) -> Iterator[None]:
    """Turn the client's exceptions into JobErrors. No message repeats theirs, which name resolved addresses."""
    try:
        yield
    except SSRFGuardError as error:
        raise forbidden_host(host) from error
    except httpx.TimeoutException as error:
        what = "took too long in all" if budget.spent else "did not answer in time"
        raise RetryableJobError(ErrorCode.IMAGE_UNREACHABLE, f"The picture's server ({host}) {what}.") from error
    except (httpx.InvalidURL, httpx.UnsupportedProtocol, httpx.LocalProtocolError) as error:
        message = f"The picture's URL, or where it redirects to, is not valid (at {host})."
        raise PermanentJobError(ErrorCode.INVALID_INPUT, message) from error
    except httpx.TransportError as error:
        raise _connection_fault(host, error) from error


def _connection_fault(host: str, error: httpx.TransportError) -> PermanentJobError | RetryableJobError:
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            message = f"The picture's server ({host}) has no valid TLS certificate."
            return PermanentJobError(ErrorCode.IMAGE_UNREACHABLE, message)
        if isinstance(cause, socket.gaierror) and cause.errno in _NO_SUCH_NAME:
            message = f"There is no host {host}. Correct the picture's address."
            return PermanentJobError(ErrorCode.IMAGE_UNREACHABLE, message)
    message = f"The connection to the picture's server ({host}) failed."
    return RetryableJobError(ErrorCode.IMAGE_UNREACHABLE, message)


def _causes(error: BaseException) -> Iterator[BaseException]:
    current: BaseException | None = error
    while current is not None:
        yield current
        current = current.__cause__ or current.__context__
