"""Keys without a database: tokens, hashes, durations."""

import pytest

from shared import keys
from shared.errors import InvalidInput

ID, SECRET = "0123456789abcdef", "A" * 43


def test_a_token_holds_an_id_and_a_secret() -> None:
    assert keys.parse_token(f"dr_{ID}_{SECRET}") == (ID, SECRET)
    assert keys.parse_token(f"dr_{ID}_{'_-' * 21}a") == (ID, "_-" * 21 + "a")


@pytest.mark.parametrize(
    "token",
    [
        "",
        "dr_",
        f"dr_{ID}",
        f"dr_{ID}_",
        f"dr_{ID}_{SECRET}x",
        f"DR_{ID}_{SECRET}",
        f"dr_{ID}_{SECRET}\n",
        f"x_{ID}_{SECRET}",
    ],
)
def test_what_is_no_token_is_refused(token: str) -> None:
    assert keys.parse_token(token) is None


def test_a_hash_belongs_to_one_server_one_key_and_one_secret() -> None:
    stored = keys.hash_secret("server", ID, SECRET)
    assert len(stored) == 32
    assert keys.matches("server", ID, SECRET, stored)
    assert not keys.matches("another", ID, SECRET, stored)
    assert not keys.matches("server", ID[::-1], SECRET, stored)
    assert not keys.matches("server", ID, SECRET[:-1] + "B", stored)
    assert not keys.matches("server", ID, SECRET, b"")


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("15m", 900), ("12h", 43_200), ("30d", 2_592_000), (" 1s ", 1)]
)
def test_durations(text: str, seconds: float) -> None:
    assert keys.parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "0s", "-1s", "1.5h", "1w", "1 h", "1h30m", "٣s"])
def test_what_is_no_duration_says_how_to_write_one(text: str) -> None:
    with pytest.raises(ValueError, match="such as 90s"):
        keys.parse_duration(text)


@pytest.mark.parametrize(
    ("tenant", "scopes", "paths"),
    [
        ("acme", ["jobs:read"], []),
        ("acme", [], ["scopes"]),
        ("acme", ["jobs"], ["scopes"]),
        ("", ["admin"], ["tenant"]),
        ("../x", ["x"], ["tenant", "scopes"]),
        ("a/b", ["admin"], ["tenant"]),
        ("a\n", ["admin"], ["tenant"]),
    ],
)
def test_a_key_needs_a_plain_tenant_and_known_scopes(tenant: str, scopes: list[str], paths: list[str]) -> None:
    if not paths:
        keys.check_new_key(tenant, scopes)
        return
    with pytest.raises(InvalidInput) as caught:
        keys.check_new_key(tenant, scopes)
    assert [fault.path for fault in caught.value.faults] == paths
