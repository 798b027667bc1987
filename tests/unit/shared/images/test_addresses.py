"""What is refused without asking the network: no connect and no lookup happens in this file."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import ConfigurationError, ErrorCode, PermanentJobError
from shared.images import addresses
from shared.images.addresses import guard_for
from shared.images.fetch import FetchPolicy, check_url, fetch
from tests.unit.shared.images.conftest import Attempts

pytestmark = pytest.mark.usefixtures("no_connect")

FORBIDDEN_HOSTS = [
    "127.0.0.1",
    "127.8.8.8",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "169.254.1.1",
    "169.254.169.254",  # metadata
    "169.254.170.2",
    "100.100.100.200",
    "192.0.0.192",
    "168.63.129.16",
    "0.0.0.0",
    "224.0.0.1",
    "255.255.255.255",
    "198.18.0.1",
    "[::1]",
    "[::]",
    "[fe80::1]",
    "[fc00::1]",
    "[fd00:ec2::254]",
    "[ff02::1]",
    "[::ffff:127.0.0.1]",  # mapped
    "[::ffff:a9fe:a9fe]",
    "[::ffff:168.63.129.16]",
    "[::127.0.0.1]",  # compatible
    "[2002:7f00:1::]",  # 6to4
    "[2002:a9fe:a9fe::1]",
    "[64:ff9b::7f00:1]",  # NAT64
    "[64:ff9b::a83f:8110]",
    "[64:ff9b:1::1]",
    "[2001:0:7f00:1::1]",  # Teredo, server
    "[2001:0:808:808:0:0:80ff:fffe]",  # Teredo, client (inverted)
    "localhost",
    "LOCALHOST.",
    "x.localhost",
    "2130706433",
    "0x7f000001",
    "0x7f.1",
    "127.1",
]


@pytest.mark.parametrize("host", FORBIDDEN_HOSTS)
def test_forbidden_hosts(host: str) -> None:
    for call in (check_url, fetch):
        with pytest.raises(PermanentJobError) as caught:
            call(f"http://{host}:8000/secret-path?key=1", FetchPolicy())
        assert caught.value.code is ErrorCode.IMAGE_FORBIDDEN_ADDRESS
        assert "FETCH_ALLOW" in caught.value.message
        assert "secret-path" not in caught.value.message


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://example.com/a.png",
        "gopher://example.com/",
        "javascript:alert(1)",
        "//example.com/a.png",
        "example.com/a.png",
        "",
        "http://user:secret@example.com/a.png",
        "http://user@example.com/a.png",
        "http://example.com@127.0.0.1/",
    ],
)
def test_forbidden_urls(url: str) -> None:
    with pytest.raises(PermanentJobError) as caught:
        check_url(url, FetchPolicy())
    assert caught.value.code is ErrorCode.IMAGE_FORBIDDEN_ADDRESS
    assert "secret" not in caught.value.message


@pytest.mark.parametrize(
    "url",
    [
        "http://",
        "http:///path",
        "http://exa mple.com/",
        "http://a..b/",
        "http://example.com:99999/",
        "http://example.com:0/",
        "http://[::1/",
        "http://exa\nmple.com/",
        "http://example.com/\x00",
        "http://fe80::1%25eth0/",
        "http://-bad_host!/",
        "http://0177.0.0.1/",
        "http://①②⑦.0.0.1/",
        "http://" + "a" * 300 + ".com/",
        "http://example.com/" + "a" * 9000,
    ],
)
def test_what_is_no_url(url: str) -> None:
    with pytest.raises(PermanentJobError) as caught:
        check_url(url, FetchPolicy())
    assert caught.value.code is ErrorCode.INVALID_INPUT


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/a.png",
        "HTTP://EXAMPLE.COM:8080/a.png?x=1#y",
        "http://8.8.8.8/",
        "http://[2606:4700::1]/",
        "http://[::ffff:8.8.8.8]/",
        "https://bücher.example/a.png",
        "https://example.com./",
        "https://example.com/ä b/%2e%2e?q=[1]",
    ],
)
def test_public_urls_pass(url: str) -> None:
    check_url(url, FetchPolicy())


def test_the_allow_list_opens_what_it_names_and_no_more() -> None:
    policy = FetchPolicy(allow=("127.0.0.1", "10.1.0.0/16", "[::1]", "images.corp", "*.cdn.corp", "localhost"))
    for url in ("http://127.0.0.1:81/", "http://10.1.255.1/", "http://[::1]/", "http://localhost:99/"):
        check_url(url, policy)
    for url in ("http://images.corp/a", "http://a.cdn.corp/", "http://IMAGES.CORP./"):
        check_url(url, policy)
    for url in ("http://127.0.0.2/", "http://10.2.0.1/", "http://[::ffff:10.1.0.1]/", "http://x.localhost/"):
        with pytest.raises(PermanentJobError):
            check_url(url, policy)


@pytest.mark.parametrize("entry", ["http://host", "host:80", "", " ", "10.0.0.0/99", "*", "a*b.com", "64:ff9b::/96"])
def test_bad_entries_of_the_allow_list(entry: str) -> None:
    with pytest.raises(ConfigurationError, match="FETCH_ALLOW"):
        check_url("http://example.com/", FetchPolicy(allow=(entry,)))


HOSTS = st.sampled_from(
    ["example.com", "a..b", "-a.com", "xn--a", "0x7f.1", "1.2.3", "LOCALHOST", "a.internal", *FORBIDDEN_HOSTS]
)
REST = st.one_of(
    st.sampled_from(["", "/", ":80/", ":0/", ":99999/a", "?@127.0.0.1/", "/\\@b", "\\@b", "#x"]), st.text(max_size=8)
)


@given(st.sampled_from(["http://", "https://", "HTTP://", "ftp://"]), HOSTS, REST)
def test_what_is_remembered_is_what_a_check_finds(scheme: str, host: str, rest: str) -> None:
    def refusal(allow: tuple[str, ...], call: str) -> tuple[str, str] | None:
        try:
            getattr(guard_for(allow), call)(scheme + host + rest)
        except PermanentJobError as error:
            return error.code, error.message
        return None

    for allow in ((), ("10.0.0.0/8", "*.internal", "localhost")):
        assert refusal(allow, "refuse") == refusal(allow, "refuse") == refusal(allow, "check")


@pytest.mark.parametrize("url", ["http://xn--a", "http://xn--a/b.png", "https://xn--\u0080.example"])
def test_a_host_that_is_no_punycode_is_refused(url: str) -> None:
    with pytest.raises(PermanentJobError) as refusal:
        check_url(url, FetchPolicy())
    assert refusal.value.code is ErrorCode.INVALID_INPUT


def test_many_urls_of_a_few_hosts_are_checked_once_a_host() -> None:
    before = addresses._refusal_of.cache_info().misses
    for n in range(2_000):
        check_url(f"https://pictures{n % 7}.once.example.com/{n}.jpg", FetchPolicy())
    assert addresses._refusal_of.cache_info().misses - before == 7


def test_the_guard_of_these_tests_works(no_connect: Attempts) -> None:
    with pytest.raises(AssertionError):
        fetch("http://127.0.0.1:9/", FetchPolicy(allow=("127.0.0.1",)))
    assert no_connect.pop() == ("127.0.0.1", 9)
    no_connect.strays.clear()
