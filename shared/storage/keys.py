"""Keys of stored files: `/`-separated names below a tenant, the same for every kind of storage."""

import re

from shared.storage.errors import InvalidKey

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._=@+-]{0,199}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MAX_LENGTH = 900


def picture_key(tenant: str, sha256: str) -> str:
    """Where a picture lies that was sent inline: by its content, so that the same picture is stored once a tenant."""
    if _SHA256.fullmatch(sha256) is None:
        raise InvalidKey(f"a picture's key needs a SHA-256 of 64 lower-case hex digits, not {sha256[:80]!r}")
    return checked_key(f"{tenant}/pictures/{sha256[:2]}/{sha256}")


def job_file_key(tenant: str, job_id: str, attempt: int, name: str) -> str:
    """Where an attempt writes a file of its result; a late attempt cannot touch another one's files."""
    return checked_key(f"{attempt_prefix(tenant, job_id, attempt)}{name}")


def attempt_prefix(tenant: str, job_id: str, attempt: int) -> str:
    return checked_prefix(f"{job_prefix(tenant, job_id)}{attempt}/")


def job_prefix(tenant: str, job_id: str) -> str:
    return checked_prefix(f"{tenant}/jobs/{job_id}/")


def tenant_prefix(tenant: str) -> str:
    return checked_prefix(f"{tenant}/")


def checked_key(key: str) -> str:
    """The key itself, if every storage can hold it.

    Each name between slashes starts with a letter, a digit or `_` and goes on with those or `.=@+-`, 200 characters
    at most, 900 in all. So `..`, absolute paths, NUL, hidden names and empty names cannot occur. Raises InvalidKey.
    """
    if len(key) > _MAX_LENGTH or not all(_NAME.fullmatch(name) for name in key.split("/")):
        raise InvalidKey(f"not a storage key: {key[:80]!r}")
    return key


def checked_prefix(prefix: str) -> str:
    """The prefix itself, if it is a key and a slash: `jobs/1/` never takes in `jobs/10/`. Raises InvalidKey."""
    if not prefix.endswith("/"):
        raise InvalidKey(f"a prefix ends in a slash: {prefix[:80]!r}")
    checked_key(prefix[:-1])
    return prefix
