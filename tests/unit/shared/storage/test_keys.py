from collections.abc import Callable

import pytest

from shared.storage.errors import InvalidKey
from shared.storage.keys import attempt_prefix, checked_key, checked_prefix, job_file_key, job_prefix, picture_key

SHA = "ab" + "0" * 62


def test_layout() -> None:
    assert picture_key("t1", SHA) == f"t1/pictures/ab/{SHA}"
    assert job_file_key("t1", "job_1", 2, "0.png") == "t1/jobs/job_1/2/0.png"
    assert job_prefix("t1", "job_1") == "t1/jobs/job_1/"
    assert attempt_prefix("t1", "job_1", 2) == "t1/jobs/job_1/2/"


BAD = ["", "/", "/a", "a/", "a//b", "..", "a/../b", "a/..", "./a", ".hidden", "a/.put-x", "a\0b", "a\\b", "a b", "ä"]


@pytest.mark.parametrize("key", [*BAD, "a\n", "-a", "a" * 201, "/".join(["a" * 100] * 10), "C:/a", "a/%2e%2e/b"])
def test_bad_keys(key: str) -> None:
    with pytest.raises(InvalidKey):
        checked_key(key)


@pytest.mark.parametrize("prefix", ["", "/", "a", "a/b", "../", "a//", "/a/"])
def test_bad_prefixes(prefix: str) -> None:
    with pytest.raises(InvalidKey):
        checked_prefix(prefix)


@pytest.mark.parametrize("part", ["..", "a/b/../..", "", "\0"])
def test_no_part_leads_elsewhere(part: str) -> None:
    calls: list[Callable[[], str]] = [
        lambda: picture_key(part, SHA),
        lambda: picture_key("t", part),
        lambda: job_file_key(part, "j", 1, "x"),
        lambda: job_file_key("t", part, 1, "x"),
        lambda: job_file_key("t", "j", 1, part),
        lambda: job_prefix("t", part),
    ]
    for call in calls:
        with pytest.raises(InvalidKey):
            call()


def test_a_hash_is_a_hash() -> None:
    for text in (SHA.upper(), SHA[:-1], SHA + "0", SHA + "\n"):
        with pytest.raises(InvalidKey):
            picture_key("t", text)
