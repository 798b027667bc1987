"""Who sends a request, and whether they may: keys, their scopes, and the anonymous tenant."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog
from fastapi import Request

from api.errors import Forbidden, Unauthorized
from shared import keys
from shared.database.asynchronous import Database
from shared.errors import DependencyUnavailable
from shared.settings import ApiSettings

log = structlog.get_logger(__name__)

CACHE_SECONDS = 5.0
"""A revoked key works at most so long."""
CACHE_KEYS = 10_000
NOTE_USE_SECONDS = 60.0
_INVALID = "The key is not valid: check that it is complete, not expired and not revoked."


@dataclass(frozen=True, slots=True)
class Caller:
    """On whose behalf a request acts. `key_id` is None without a key."""

    tenant: str
    scopes: frozenset[str]
    key_id: str | None = None


@dataclass(frozen=True, slots=True)
class _Known:
    """What the database said of a key id; `secret_hash` is None when there is no such key."""

    until: float
    caller: Caller | None = None
    secret_hash: bytes = b""
    expires_at: datetime | None = None


class Authenticator:
    """Checks keys against the database, remembering each answer for a few seconds."""

    def __init__(self, database: Database, settings: ApiSettings) -> None:
        self._database = database
        self._server_key = settings.secret_key.get_secret_value()
        self._anonymous = (
            Caller(settings.anonymous_tenant, frozenset(settings.anonymous_scopes))
            if settings.anonymous_access
            else None
        )
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._noted: dict[str, float] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def caller(self, authorization: str | None) -> Caller:
        """Who sends this header.

        Raises:
            Unauthorized: nobody that may.
            DependencyUnavailable: Postgres is away, and the key is not remembered.
        """
        if authorization is None:
            if self._anonymous is None:
                raise Unauthorized("Send your key: Authorization: Bearer dr_…")
            return self._anonymous
        scheme, _, token = authorization.partition(" ")
        parsed = keys.parse_token(token.strip()) if scheme.lower() == "bearer" else None
        if parsed is None:
            raise Unauthorized("The Authorization header must read: Bearer dr_<id>_<secret>")
        key_id, secret = parsed
        known = await self._look_up(key_id)
        right = keys.matches(self._server_key, key_id, secret, known.secret_hash)
        if known.caller is None or not right or (known.expires_at and known.expires_at <= datetime.now(UTC)):
            raise Unauthorized(_INVALID)
        self._note_use(key_id)
        return known.caller

    async def close(self) -> None:
        """Finish what is being written. Nothing of it is worth a long wait."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=1.0)

    def forget(self, key_id: str) -> None:
        """Ask the database again with the next request: the key was just changed."""
        self._known.pop(key_id, None)

    async def _look_up(self, key_id: str) -> _Known:
        known = self._known.get(key_id)
        if known is None or known.until < time.monotonic():
            known = await self._read(key_id)
            self._known[key_id] = known
            self._known.move_to_end(key_id)
            if len(self._known) > CACHE_KEYS:
                self._known.popitem(last=False)
        return known

    async def _read(self, key_id: str) -> _Known:
        row = await self._database.fetchrow(keys.FIND, key_id)
        until = time.monotonic() + CACHE_SECONDS
        if row is None or row["revoked_at"] is not None:
            return _Known(until)
        caller = Caller(row["tenant"], frozenset(row["scopes"]), key_id)
        return _Known(until, caller, row["secret_hash"], row["expires_at"])

    def _note_use(self, key_id: str) -> None:
        now = time.monotonic()
        if now - self._noted.get(key_id, -NOTE_USE_SECONDS) < NOTE_USE_SECONDS:
            return
        if len(self._noted) >= CACHE_KEYS:
            self._noted.clear()
        self._noted[key_id] = now
        task = asyncio.create_task(self._write_use(key_id))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _write_use(self, key_id: str) -> None:
        try:
            await self._database.execute(keys.NOTE_USE, [key_id])
        except DependencyUnavailable:
            self._noted.pop(key_id, None)
            log.warning("key_use_not_noted", key_id=key_id)


def needs(scope: str | None = None) -> Callable[[Request], Awaitable[Caller]]:
    """A dependency: the caller, who must have `scope` (or just be someone, without one)."""

    async def check(request: Request) -> Caller:
        authenticator: Authenticator = request.app.state.services.authenticator
        caller = await authenticator.caller(request.headers.get("authorization"))
        if scope is not None and scope not in caller.scopes:
            raise Forbidden(f"This needs the scope {scope!r}, which the key does not have.")
        return caller

    check.__name__ = f"needs_{scope}"
    return check
