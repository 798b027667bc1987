"""Everything between a draft and its row: all checks, then the pictures into storage, then the row itself."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import orjson

from api.auth import Caller
from api.body import parse_json
from api.intake import label_sets
from api.intake.aside import Aside
from api.intake.checks import check_against_collection, check_draft
from api.intake.drafts import Draft, request_hash, to_json
from api.intake.faults import Faults
from api.intake.pictures import read_inline, store
from shared import files
from shared.contracts.jobs import PRIORITIES
from shared.database.asynchronous import Database
from shared.images.decode import DecodeLimits
from shared.images.fetch import FetchPolicy
from shared.jobs.submission import KnownOutput, NewJob, new_id
from shared.model_registry import ModelRegistry
from shared.roots import Roots
from shared.settings import ApiSettings
from shared.storage import Storage

Understand = Callable[[Any], list[Draft]]
_COLLECTIONS = """
SELECT name, model, payload_schema FROM collections WHERE tenant = $1 AND name = ANY($2::text[]) AND deleted_at IS NULL
"""

WRITERS = 16
"""Threads that put pictures into storage, for all requests together."""


@dataclass(frozen=True)
class Reading:
    """A request's body, understood: its drafts, what is wrong with them so far, and the hash of what it asks for."""

    size: int
    """Bytes of the body."""
    drafts: list[Draft]
    faults: Faults
    hashed: bytes | None


class Intake:
    """Turns drafts into jobs that may be inserted."""

    def __init__(self, database: Database, storage: Storage, registry: ModelRegistry, settings: ApiSettings) -> None:
        self._database = database
        self._storage = storage
        self._registry = registry
        self._policy = FetchPolicy(max_bytes=settings.max_picture_bytes, allow=settings.fetch_allow)
        self._limits = DecodeLimits(max_pixels=settings.max_picture_pixels)
        self._roots = Roots(settings.image_roots)
        self.aside = Aside()
        self._writers = ThreadPoolExecutor(WRITERS, thread_name_prefix="store")

    async def read(self, body: bytes, understand: Understand, *, hashed: bool) -> Reading:
        """Parse a body and check all that can be checked without the database.

        Raises:
            Malformed, InvalidInput: it is not even made of jobs. What is wrong with jobs is told by `check`.
        """
        return await self.aside.run(len(body), lambda: self._read(body, understand, hashed))

    def _read(self, body: bytes, understand: Understand, hashed: bool) -> Reading:
        drafts = understand(parse_json(body))
        reading = Reading(len(body), drafts, Faults(), request_hash(drafts) if hashed else None)
        for draft in drafts:
            check_draft(draft, self._registry, self._policy, self._roots, reading.faults)
        return reading

    async def check(self, caller: Caller, reading: Reading) -> None:
        """Check drafts against the world and store their pictures.

        Raises:
            InvalidInput: with every fault of every draft; nothing is stored then.
            Conflict: a collection was made with another model (`model_mismatch`).
        """
        drafts, faults = reading.drafts, reading.faults
        await self._check_collections(caller, drafts, faults)
        await label_sets.resolve(self._database, caller.tenant, drafts, faults, self.aside)
        await self._check_files(caller, drafts, faults)
        pictures = await read_inline(drafts, caller.tenant, self._policy.max_bytes, self._limits, faults)
        faults.raise_any()
        await store(self._database, self._storage, pictures, self._writers)

    def close(self) -> None:
        """Let the threads go; what they are writing is written."""
        self._writers.shutdown(wait=False, cancel_futures=True)

    async def _check_collections(self, caller: Caller, drafts: Sequence[Draft], faults: Faults) -> None:
        named = [
            (draft, name)
            for draft in drafts
            if (name := draft.get("collection")) and any(map(draft.get, ("model", "filter", "items")))
        ]
        if not named:
            return
        rows = await self._database.fetch(_COLLECTIONS, caller.tenant, sorted({name for _, name in named}))
        schemas = {row["name"]: row["payload_schema"] for row in rows}
        models = {row["name"]: row["model"] for row in rows}
        for draft, name in named:
            if name in models:
                schema = None if schemas[name] is None else orjson.loads(schemas[name])
                check_against_collection(draft, models[name], schema, faults)

    async def _check_files(self, caller: Caller, drafts: Sequence[Draft], faults: Faults) -> None:
        named = [
            (draft, path, picture.file)
            for draft in drafts
            for path, picture in draft.kind.pictures(draft.input)
            if picture.file is not None
        ]
        if not named:
            return
        rows = await self._database.fetch(files.TOUCH_KNOWN, caller.tenant, sorted({id for _, _, id in named}))
        known = {row["id"] for row in rows}
        for draft, path, file_id in named:
            if file_id in known:
                draft.files.append(file_id)
            else:
                faults.add(draft.path(path), f"there is no file {file_id}; send the picture itself")


def new_job(
    draft: Draft,
    caller: Caller,
    *,
    key: str | None,
    hashed: bytes | None,
    cancel_after: float | None,
    known: KnownOutput | None = None,
) -> NewJob:
    """A checked draft as the row it becomes. `known`: its output, where nobody has to work it out.

    Raises:
        InvalidInput: the input is nested so deeply that it cannot be written.
    """
    envelope, kind = draft.envelope, draft.kind
    return NewJob(
        id=new_id(),
        tenant=caller.tenant,
        key_id=caller.key_id,
        kind=kind.name,
        queue=kind.queue_for(draft.input),
        batch_key=kind.batch_key(draft.input),
        priority=PRIORITIES[envelope.priority],
        input=to_json(draft.raw).decode(),
        metadata=orjson.dumps(envelope.metadata).decode() if envelope.metadata else "{}",
        max_attempts=envelope.max_attempts,
        timeout_seconds=envelope.timeout_seconds or kind.default_timeout,
        idempotency_key=key,
        request_hash=hashed,
        cancel_after=cancel_after,
        files=tuple(dict.fromkeys(draft.files)),
        known=known,
    )
