"""API keys: `dr_<id>_<secret>`. The secret is shown once and stored only as an HMAC under the server's SECRET_KEY."""

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg.rows import class_row

from shared.errors import FieldFault, InvalidInput

SCOPES = ("jobs:write", "jobs:read", "collections:write", "files:write", "admin")
PREFIX = "dr"
SECRET_BYTES = 32
_ID_BYTES = 8
_TENANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_TOKEN = re.compile(r"dr_([0-9a-f]{16})_([A-Za-z0-9_-]{43})")
_DURATION = re.compile(r"([0-9]{1,6})([smhd])")
_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}

Connection = psycopg.Connection[Any]

FIND = "SELECT id, tenant, secret_hash, scopes, expires_at, revoked_at FROM api_keys WHERE id = $1"
"""For asyncpg, which the API checks keys over."""
NOTE_USE = "UPDATE api_keys SET last_used_at = now() WHERE id = ANY($1::text[])"


@dataclass(frozen=True)
class KeyRow:
    """A key as its owner may see it: everything but the secret."""

    id: str
    tenant: str
    name: str
    scopes: list[str]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None


@dataclass(frozen=True)
class NewKey:
    """A key that was just made. `token` is in no other place."""

    row: KeyRow
    token: str


_COLUMNS = "id, tenant, name, scopes, created_at, expires_at, last_used_at, revoked_at"


def parse_token(token: str) -> tuple[str, str] | None:
    """(id, secret) of a well-formed token."""
    found = _TOKEN.fullmatch(token)
    return (found[1], found[2]) if found else None


def hash_secret(server_key: str, key_id: str, secret: str) -> bytes:
    """What is stored of a secret (32 bytes): worthless without the server's key, and for any other key id."""
    return hmac.digest(server_key.encode(), f"{key_id}:{secret}".encode(), hashlib.sha256)


def matches(server_key: str, key_id: str, secret: str, stored: bytes) -> bool:
    """Compare in constant time."""
    return hmac.compare_digest(hash_secret(server_key, key_id, secret), stored)


def check_new_key(tenant: str, scopes: list[str]) -> None:
    """Raises InvalidInput unless a key of this tenant and these scopes may be made."""
    faults = []
    if not _TENANT.fullmatch(tenant):
        faults.append(
            FieldFault("tenant", "must be 1 to 64 letters, digits or . _ -, and start with a letter or digit")
        )
    unknown = [scope for scope in scopes if scope not in SCOPES]
    if unknown or not scopes:
        problem = f"unknown scope {', '.join(unknown)}" if unknown else "at least one scope is needed"
        faults.append(FieldFault("scopes", f"{problem}; there are {', '.join(SCOPES)}"))
    if faults:
        raise InvalidInput("The key cannot be made like this.", faults=tuple(faults))


def parse_duration(text: str) -> float:
    """Seconds of `90s`, `15m`, `12h` or `30d`.

    Raises:
        ValueError: for anything else, zero included.
    """
    found = _DURATION.fullmatch(text.strip())
    if found is None or int(found[1]) == 0:
        raise ValueError(f"{text!r} is no duration; write a whole number above 0 and s, m, h or d, such as 90s or 12h")
    return float(int(found[1]) * _UNITS[found[2]])


def create(
    connection: Connection,
    server_key: str,
    *,
    tenant: str,
    scopes: list[str],
    name: str = "",
    expires_in: float | None = None,
) -> NewKey:
    """Make a key. `expires_in`: seconds; None: never.

    Raises:
        InvalidInput: the tenant's name or a scope is not one.
    """
    check_new_key(tenant, scopes)
    key_id, secret = secrets.token_hex(_ID_BYTES), secrets.token_urlsafe(SECRET_BYTES)
    with connection.cursor(row_factory=class_row(KeyRow)) as cursor:
        cursor.execute(
            "INSERT INTO api_keys (id, tenant, name, secret_hash, scopes, expires_at) "
            "VALUES (%s, %s, %s, %s, %s, now() + make_interval(secs => %s)) "
            f"RETURNING {_COLUMNS}",
            (key_id, tenant, name, hash_secret(server_key, key_id, secret), sorted(set(scopes)), expires_in),
        )
        row = cursor.fetchone()
    assert row is not None
    return NewKey(row, f"{PREFIX}_{key_id}_{secret}")


def listed(
    connection: Connection, *, tenant: str | None = None, after: str | None = None, limit: int = 1_000
) -> list[KeyRow]:
    """Keys in the order of their ids, revoked and expired ones included."""
    with connection.cursor(row_factory=class_row(KeyRow)) as cursor:
        cursor.execute(
            f"SELECT {_COLUMNS} FROM api_keys WHERE (%(tenant)s::text IS NULL OR tenant = %(tenant)s) "
            "AND (%(after)s::text IS NULL OR id > %(after)s) ORDER BY id LIMIT %(limit)s",
            {"tenant": tenant, "after": after, "limit": limit},
        )
        return cursor.fetchall()


def revoke(connection: Connection, key_id: str) -> KeyRow | None:
    """End a key for good; it stays listed. Revoking it again changes nothing. None: there is no such key."""
    with connection.cursor(row_factory=class_row(KeyRow)) as cursor:
        cursor.execute(
            f"UPDATE api_keys SET revoked_at = COALESCE(revoked_at, now()) WHERE id = %s RETURNING {_COLUMNS}",
            (key_id,),
        )
        return cursor.fetchone()
