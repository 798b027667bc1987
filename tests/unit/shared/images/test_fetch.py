import gzip
import socket
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from shared.errors import ErrorCode, JobCanceled, JobError, PermanentJobError, RetryableJobError
from shared.images.client import Resolver, SafeClient
from shared.images.fetch import Fetched, FetchPolicy, fetch
from tests.fakes.picture_server import Answer, PictureServer, picture_server
from tests.unit.shared.images.conftest import Attempts

POLICY = FetchPolicy(max_bytes=100_000, connect_timeout=1, read_timeout=0.4, total_timeout=1, allow=("127.0.0.1",))
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n"


@pytest.fixture(scope="module")
def client() -> Iterator[SafeClient]:
    with SafeClient(POLICY.allow) as client:
        yield client


@pytest.fixture
def server() -> Iterator[PictureServer]:
    with picture_server() as server:
        yield server


def failed(call: Callable[[], Fetched]) -> JobError:
    with pytest.raises(JobError) as caught:
        call()
    return caught.value


def names(table: dict[str, list[str]]) -> Resolver:
    """A resolver that knows these names only."""

    def resolve(host: str, port: int, *_: int) -> list[tuple[int, int, int, str, tuple[object, ...]]]:
        if host not in table:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        family = {True: socket.AF_INET6, False: socket.AF_INET}
        return [(family[":" in ip], socket.SOCK_STREAM, 6, "", (ip, port)) for ip in table[host]]

    return resolve


def test_a_picture(server: PictureServer, client: SafeClient) -> None:
    server.answers["/a.png?x=1"] = Answer(200, b"pixels", {"Content-Type": "image/png", "Set-Cookie": "a=b"})
    for _ in range(2):
        got = fetch(server.url("/a.png?x=1"), POLICY, client=client)
        assert got == Fetched(b"pixels", "image/png", server.url("/a.png?x=1"))
    assert server.connections == 1
    headers = server.seen[1][1]
    assert headers["accept-encoding"] == "identity"
    assert "cookie" not in headers
    assert "authorization" not in headers


def test_without_a_shared_client(server: PictureServer) -> None:
    server.answers["/"] = Answer(200, b"x")
    assert fetch(server.url("/"), POLICY).content_type is None


def test_a_client_of_another_allow_list(client: SafeClient) -> None:
    with pytest.raises(ValueError, match="allow-list"):
        fetch("http://example.com/", FetchPolicy(), client=client)


def test_the_environment_is_not_read(server: PictureServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    server.answers["/"] = Answer(200, b"x")
    assert fetch(server.url("/"), POLICY).data == b"x"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_three_redirects(server: PictureServer, client: SafeClient, status: int) -> None:
    for hop, target in enumerate(("/1", server.url("/2"), "3")):
        server.answers[f"/{hop}"] = Answer(status, b"body of a redirect", {"Location": target})
    server.answers["/3"] = Answer(200, b"there")
    assert fetch(server.url("/0"), POLICY, client=client) == Fetched(b"there", None, server.url("/3"))


def test_four_redirects(server: PictureServer, client: SafeClient) -> None:
    server.answers["/0"] = Answer(302, b"", {"Location": "/0"})
    error = failed(lambda: fetch(server.url("/0"), POLICY, client=client))
    assert (error.code, error.retryable) == (ErrorCode.IMAGE_UNREACHABLE, False)
    assert len(server.seen) == 4


@pytest.mark.parametrize(
    "target",
    [
        "http://127.0.0.2:{port}/",
        "http://169.254.169.254/latest/meta-data/",
        "http://[::ffff:127.0.0.1]:{port}/",
        "http://localhost:{port}/",
        "http://user:pw@127.0.0.1:{port}/",
        "file:///etc/passwd",
        "//10.0.0.1/",
    ],
)
def test_a_redirect_into_the_network(
    server: PictureServer, client: SafeClient, attempts: Attempts, target: str
) -> None:
    server.answers["/0"] = Answer(302, b"", {"Location": target.format(port=server.port)})
    error = failed(lambda: fetch(server.url("/0"), POLICY, client=client))
    assert (error.code, error.retryable) == (ErrorCode.IMAGE_FORBIDDEN_ADDRESS, False)
    assert attempts == [("127.0.0.1", server.port)]


def test_a_redirect_to_no_url(server: PictureServer, client: SafeClient) -> None:
    for target in ("http://[", "http://a..b/", "http://\x7f/", "http://x:99999999/"):
        server.answers["/0"] = Answer(302, b"", {"Location": target})
        error = failed(lambda: fetch(server.url("/0"), POLICY, client=client))
        assert (error.code, error.retryable) == (ErrorCode.INVALID_INPUT, False)


@pytest.mark.parametrize(
    "addresses",
    [
        ["10.0.0.1"],
        ["127.0.0.2"],
        ["169.254.169.254"],
        ["168.63.129.16"],
        ["192.0.0.192"],
        ["8.8.8.8", "10.0.0.1"],
        ["::ffff:10.0.0.1"],
        ["64:ff9b::a00:1"],
        ["2002:a00:1::"],
        ["fd00::1"],
    ],
)
def test_a_name_that_leads_into_the_network(no_connect: Attempts, addresses: list[str]) -> None:
    with SafeClient(resolver=names({"evil.example": addresses})) as client:
        error = failed(lambda: fetch("http://evil.example/a", FetchPolicy(), client=client))
    assert (error.code, error.retryable) == (ErrorCode.IMAGE_FORBIDDEN_ADDRESS, False)
    assert "evil.example" in error.message
    assert not any(address in error.message for address in addresses)


def test_a_name_is_resolved_once_and_pinned(server: PictureServer) -> None:
    """A second answer, as rebinding gives it, is never asked for."""
    asked: list[str] = []
    answers = iter([["127.0.0.1"], ["127.0.0.2"]])

    def rebinding(host: str, port: int, *_: int) -> list[tuple[int, int, int, str, tuple[object, ...]]]:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, port)) for ip in next(answers)]

    server.answers["/"] = Answer(200, b"x")
    with SafeClient(POLICY.allow, resolver=rebinding) as client:
        got = fetch(server.url("/", "rebind.example"), POLICY, client=client)
    assert (got.data, asked) == (b"x", ["rebind.example"])
    assert server.seen[0][1]["host"] == f"rebind.example:{server.port}"


def test_an_allowed_name_opens_its_own_host_only(server: PictureServer) -> None:
    server.answers["/"] = Answer(200, b"x")
    server.answers["/away"] = Answer(302, b"", {"Location": server.url("/", "other.corp")})
    policy = FetchPolicy(allow=("images.corp",))
    table = {"images.corp": ["127.0.0.1"], "other.corp": ["127.0.0.1"]}
    with SafeClient(policy.allow, resolver=names(table)) as client:
        assert fetch(server.url("/", "images.corp"), policy, client=client).data == b"x"
        for url in (server.url("/", "other.corp"), server.url("/away", "images.corp"), server.url("/")):
            error = failed(lambda url=url: fetch(url, policy, client=client))  # type: ignore[misc]
            assert error.code is ErrorCode.IMAGE_FORBIDDEN_ADDRESS


@pytest.mark.parametrize("address", ["169.254.169.254", "168.63.129.16", "192.0.0.192", "100.100.100.200", "fe80::1"])
def test_an_allowed_name_never_opens_metadata(no_connect: Attempts, address: str) -> None:
    policy = FetchPolicy(allow=("images.corp",))
    with SafeClient(policy.allow, resolver=names({"images.corp": [address]})) as client:
        error = failed(lambda: fetch("http://images.corp/", policy, client=client))
    assert error.code is ErrorCode.IMAGE_FORBIDDEN_ADDRESS


@pytest.mark.parametrize(
    ("status", "headers", "retryable", "retry_in"),
    [
        (404, {}, False, None),
        (410, {}, False, None),
        (401, {}, False, None),
        (403, {"Retry-After": "5"}, False, None),
        (204, {}, False, None),
        (304, {}, False, None),
        (500, {}, True, None),
        (503, {"Retry-After": "7"}, True, 7.0),
        (429, {"Retry-After": "120"}, True, 120.0),
        (429, {"Retry-After": "999999999"}, True, 3600.0),
        (429, {"Retry-After": "soon"}, True, None),
        (429, {"Retry-After": "-4"}, True, None),
        (429, {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, True, 0.0),
        (408, {}, True, None),
    ],
)
def test_statuses(
    server: PictureServer,
    client: SafeClient,
    status: int,
    headers: dict[str, str],
    retryable: bool,
    retry_in: float | None,
) -> None:
    server.answers["/"] = Answer(status, b"", headers)
    error = failed(lambda: fetch(server.url("/"), POLICY, client=client))
    assert (error.code, error.retryable) == (ErrorCode.IMAGE_UNREACHABLE, retryable)
    assert getattr(error, "retry_in", None) == retry_in
    assert str(status) in error.message


def test_retry_after_as_a_date(server: PictureServer, client: SafeClient) -> None:
    at = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    server.answers["/"] = Answer(503, b"", {"Retry-After": at})
    error = failed(lambda: fetch(server.url("/"), POLICY, client=client))
    assert isinstance(error, RetryableJobError)
    assert 55 < (error.retry_in or 0) <= 60


def too_large(server: PictureServer, client: SafeClient) -> None:
    start = time.monotonic()
    error = failed(lambda: fetch(server.url("/"), POLICY, client=client))
    assert (error.code, error.retryable) == (ErrorCode.IMAGE_TOO_LARGE, False)
    assert time.monotonic() - start < 0.5


def test_a_body_over_the_cap(server: PictureServer, client: SafeClient) -> None:
    server.answers["/"] = Answer(200, b"x" * 100_000)
    assert len(fetch(server.url("/"), POLICY, client=client).data) == 100_000
    server.answers["/"] = Answer(200, b"x" * 100_001)
    too_large(server, client)


def test_an_endless_body(server: PictureServer, client: SafeClient) -> None:
    def endless(connection: socket.socket) -> None:
        connection.sendall(HEAD + b"\r\n")
        while True:
            connection.sendall(b"x" * 10_000)

    server.answers["/"] = endless
    too_large(server, client)


def test_a_declared_length_over_the_cap_is_not_read(server: PictureServer, client: SafeClient) -> None:
    server.answers["/"] = lambda connection: connection.sendall(HEAD + b"Content-Length: 100001\r\n\r\n")
    too_large(server, client)


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "deflate", "GZIP"])
def test_a_compressed_body(server: PictureServer, client: SafeClient, encoding: str) -> None:
    pack = zlib.compress if encoding == "deflate" else gzip.compress
    server.answers["/"] = Answer(200, pack(b"pixels" * 1000), {"Content-Encoding": encoding})
    assert fetch(server.url("/"), POLICY, client=client).data == b"pixels" * 1000
    server.answers["/"] = Answer(200, pack(bytes(50_000_000)), {"Content-Encoding": encoding})
    too_large(server, client)
    server.answers["/"] = Answer(200, b"not compressed", {"Content-Encoding": encoding})
    error = failed(lambda: fetch(server.url("/"), POLICY, client=client))
    assert (error.code, error.retryable) == (ErrorCode.IMAGE_UNREACHABLE, False)
    server.answers["/"] = Answer(200, pack(b"pixels" * 1000)[:-9], {"Content-Encoding": encoding})
    assert failed(lambda: fetch(server.url("/"), POLICY, client=client)).retryable


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "gzip,deflate"])
def test_other_encodings_are_refused(server: PictureServer, client: SafeClient, encoding: str) -> None:
    server.answers["/"] = Answer(200, b"x", {"Content-Encoding": encoding})
    error = failed(lambda: fetch(server.url("/"), POLICY, client=client))
    assert (error.code, error.retryable) == (ErrorCode.IMAGE_UNREACHABLE, False)


def drip(start: bytes, drop: bytes) -> Callable[[socket.socket], None]:
    def script(connection: socket.socket) -> None:
        connection.sendall(start)
        for _ in range(100):
            time.sleep(0.05)
            connection.sendall(drop)

    return script


@pytest.mark.parametrize("script", [drip(HEAD + b"\r\n", b"x"), drip(HEAD + b"X: ", b"y"), drip(b"HT", b"")])
def test_a_server_that_drips(
    server: PictureServer, client: SafeClient, script: Callable[[socket.socket], None]
) -> None:
    """In its headers or its body: the wall clock ends it, though no read ever waits long."""
    server.answers["/"] = script
    start = time.monotonic()
    policy = FetchPolicy(read_timeout=0.6, total_timeout=0.3, allow=POLICY.allow)
    error = failed(lambda: fetch(server.url("/"), policy, client=client))
    assert time.monotonic() - start < 0.6
    assert (error.code, error.retryable) == (ErrorCode.IMAGE_UNREACHABLE, True)
    assert "too long" in error.message


def test_the_callers_deadline(server: PictureServer, client: SafeClient) -> None:
    server.answers["/"] = drip(HEAD + b"\r\n", b"x")
    start = time.monotonic()
    assert failed(lambda: fetch(server.url("/"), POLICY, client=client, deadline=start + 0.2)).retryable
    assert time.monotonic() - start < 0.4


def test_a_silent_server(server: PictureServer, client: SafeClient) -> None:
    server.answers["/"] = lambda _: time.sleep(2)
    start = time.monotonic()
    error = failed(lambda: fetch(server.url("/"), POLICY, client=client))
    assert 0.3 < time.monotonic() - start < 0.7
    assert (error.code, error.retryable) == (ErrorCode.IMAGE_UNREACHABLE, True)


def test_cancelling_while_a_server_is_silent(server: PictureServer, client: SafeClient) -> None:
    server.answers["/"] = lambda _: time.sleep(2)
    stop = threading.Event()
    threading.Timer(0.1, stop.set).start()
    start = time.monotonic()
    policy = FetchPolicy(allow=POLICY.allow)
    with pytest.raises(JobCanceled):
        fetch(server.url("/"), policy, client=client, cancelled=stop.is_set)
    assert time.monotonic() - start < 0.6


@pytest.mark.parametrize(
    "script",
    [
        lambda connection: connection.close(),
        lambda connection: connection.sendall(HEAD + b"Content-Length: 10\r\n\r\nshort"),
        lambda connection: connection.sendall(b"SSH-2.0-OpenSSH_9.6\r\n"),
        lambda connection: connection.sendall(HEAD + b"X: " + b"y" * 300_000),
    ],
    ids=["closes", "short", "no http", "endless header"],
)
def test_broken_answers_may_be_tried_again(
    server: PictureServer, client: SafeClient, script: Callable[[socket.socket], None]
) -> None:
    server.answers["/"] = script
    error = failed(lambda: fetch(server.url("/"), POLICY, client=client))
    assert (error.code, error.retryable) == (ErrorCode.IMAGE_UNREACHABLE, True)


def test_nobody_listens(client: SafeClient) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    error = failed(lambda: fetch(f"http://127.0.0.1:{port}/", POLICY, client=client))
    assert (error.code, error.retryable) == (ErrorCode.IMAGE_UNREACHABLE, True)


def test_plain_http_where_tls_is_asked_for(server: PictureServer, client: SafeClient) -> None:
    error = failed(lambda: fetch(f"https://127.0.0.1:{server.port}/", POLICY, client=client))
    assert error.code is ErrorCode.IMAGE_UNREACHABLE


def test_names_that_do_not_resolve(no_connect: Attempts) -> None:
    with SafeClient(resolver=names({})) as client, pytest.raises(PermanentJobError) as caught:
        fetch("http://nowhere.example/", FetchPolicy(), client=client)
    assert caught.value.code is ErrorCode.IMAGE_UNREACHABLE


def test_a_name_server_that_never_answers(no_connect: Attempts) -> None:
    release = threading.Event()

    def stuck(*_: object) -> list[tuple[int, int, int, str, tuple[object, ...]]]:
        release.wait(5)
        return []

    start = time.monotonic()
    with SafeClient(resolver=stuck) as client:
        error = failed(lambda: fetch("http://slow.example/", FetchPolicy(total_timeout=0.2), client=client))
    release.set()
    assert time.monotonic() - start < 0.5
    assert (error.code, error.retryable) == (ErrorCode.IMAGE_UNREACHABLE, True)


def test_many_threads_over_one_client(server: PictureServer, client: SafeClient) -> None:
    """One slow host does not hold up the others, and each fetch keeps its own deadline."""
    server.answers["/slow"] = drip(HEAD + b"\r\n", b"x")
    for number in range(40):
        server.answers[f"/{number}"] = Answer(200, str(number).encode())
    patient = FetchPolicy(allow=POLICY.allow)
    with ThreadPoolExecutor(16) as pool:
        slow = pool.submit(failed, lambda: fetch(server.url("/slow"), POLICY, client=client))
        got = list(pool.map(lambda n: fetch(server.url(f"/{n}"), patient, client=client).data, range(40)))
        assert not slow.done()
        assert got == [str(n).encode() for n in range(40)]
        assert slow.result().retryable
