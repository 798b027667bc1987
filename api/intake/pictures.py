"""Inline pictures of a request: decoded, looked at, and put into storage, so that no row ever holds picture bytes."""

import asyncio
import hashlib
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

from api.intake.drafts import Draft
from api.intake.faults import Faults
from shared import files
from shared.database.asynchronous import Database
from shared.errors import PermanentJobError
from shared.files import StoredPicture
from shared.images.decode import DecodeLimits, inspect
from shared.images.inline import decode_inline
from shared.storage import Storage
from shared.storage.keys import picture_key

LANES = 8
"""Pictures of one request that are written at once. Writing is waiting for the disk, which takes many in one go."""


@dataclass(frozen=True)
class Inline:
    """A picture that came inside a request: whose, where, its bytes and the row that it will have."""

    draft: Draft
    path: str
    data: bytes
    stored: StoredPicture


async def read_inline(
    drafts: Sequence[Draft], tenant: str, max_bytes: int, limits: DecodeLimits, faults: Faults
) -> list[Inline]:
    """Every inline picture; what is none is added to `faults`."""
    coded = [
        (draft, path, picture.base64)
        for draft in drafts
        for path, picture in draft.kind.pictures(draft.input)
        if picture.base64 is not None
    ]
    return await asyncio.to_thread(_read_all, coded, tenant, max_bytes, limits, faults) if coded else []


def _read_all(
    coded: list[tuple[Draft, str, str]], tenant: str, max_bytes: int, limits: DecodeLimits, faults: Faults
) -> list[Inline]:
    pictures = []
    for draft, path, text in coded:
        try:
            data = decode_inline(text, max_bytes).data
            info = inspect(data, limits)
        except PermanentJobError as error:
            faults.add(draft.path(path), error.message, error.code)
            continue
        sha256 = hashlib.sha256(data)
        stored = StoredPicture(
            id=files.file_id(tenant, sha256.digest()),
            tenant=tenant,
            sha256=sha256.digest(),
            storage_key=picture_key(tenant, sha256.hexdigest()),
            content_type=info.media_type,
            size=len(data),
            width=info.width,
            height=info.height,
        )
        pictures.append(Inline(draft, path, data, stored))
    return pictures


async def store(database: Database, storage: Storage, pictures: Sequence[Inline], writers: Executor) -> None:
    """Put pictures into storage and their files' ids into the drafts. Rows first: `shared/files.py` says why.

    Raises:
        DependencyUnavailable, StorageError: nothing of it harms; what was stored is swept when no job comes to hold it.
    """
    if not pictures:
        return
    unique = sorted(
        {picture.stored.id: picture for picture in pictures}.values(), key=lambda picture: picture.stored.id
    )
    await database.execute(files.TOUCH, *_columns([picture.stored for picture in unique]))
    loop = asyncio.get_running_loop()
    lanes = [unique[lane::LANES] for lane in range(min(LANES, len(unique)))]
    await asyncio.gather(*(loop.run_in_executor(writers, _put_all, storage, lane) for lane in lanes))
    for picture in pictures:
        _replace(picture.draft.raw, picture.path, {"file": picture.stored.id})
        picture.draft.files.append(picture.stored.id)


def _put_all(storage: Storage, pictures: Sequence[Inline]) -> None:
    for picture in pictures:
        if not storage.exists(picture.stored.storage_key):
            storage.put(picture.stored.storage_key, picture.data, picture.stored.content_type)


def _columns(rows: list[StoredPicture]) -> tuple[list[Any], ...]:
    names = ("id", "tenant", "sha256", "storage_key", "content_type", "size", "width", "height")
    return tuple([getattr(row, name) for row in rows] for name in names)


def _replace(raw: dict[str, Any], path: str, value: dict[str, str]) -> None:
    *parents, last = path.split(".")
    place: Any = raw
    for part in parents:
        place = place[int(part)] if isinstance(place, list) else place[part]
    place[int(last) if isinstance(place, list) else last] = value
