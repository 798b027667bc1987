"""Searches that were asked before: their outputs from the cache, so that no worker has to run them again."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from api.intake.drafts import Draft
from api.intake.sharing import SharedLookup
from shared.cache.clients import AsyncCache
from shared.cache.results import Searched, result_key
from shared.contracts.search import SEARCH, SearchInput
from shared.database.asynchronous import Database, Row
from shared.loaded_models import entry_of
from shared.model_registry import ModelRegistry

Answer = Literal["hit", "miss", "away"]
PART = 32
"""Entries that are read at a time."""
MAX_BYTES = 4_000_000
"""A batch takes outputs from the cache until it has so many bytes of them; workers see to the rest."""
MOST_NAMES = 1_000

# At the very moment of the request: what was written before it has moved the version that is read here.
COLLECTIONS = """
SELECT c.tenant, c.name, c.id, c.vectors_id, c.version, c.model, l.weights
FROM unnest($1::text[], $2::text[]) AS asked(tenant, name)
JOIN collections c ON c.tenant = asked.tenant AND c.name = asked.name AND c.deleted_at IS NULL
JOIN loaded_models l ON l.alias = c.model
"""


@dataclass(frozen=True, slots=True)
class Looked:
    """What the cache knew of one draft. `json`: the output, on a hit."""

    answer: Answer
    json: str | None = None


_MISS, _AWAY = Looked("miss"), Looked("away")


class KnownAnswers:
    """Looks drafts up. Raises nothing for a cache that is away; DependencyUnavailable when Postgres is."""

    def __init__(self, database: Database, registry: ModelRegistry, cache: AsyncCache) -> None:
        self._database = database
        self._cache = cache
        self._entries = {spec.alias: entry_of(spec) for spec in registry}
        self._collections = SharedLookup(self._look_for_collections, most=MOST_NAMES)
        self._outputs = SharedLookup(self._look_for_outputs, most=PART)

    async def look_up(self, tenant: str, drafts: Sequence[Draft]) -> dict[int, Looked]:
        """What is known of the searches among checked drafts, by their place; others are not in the answer."""
        if not self._cache.enabled:
            return {}
        searches = {place: _input(draft) for place, draft in enumerate(drafts) if draft.kind is SEARCH}
        if not searches:
            return {}
        names = sorted({input.collection for input in searches.values()})
        rows = dict(zip(names, await self._collections.get_many([(tenant, name) for name in names]), strict=True))
        keys = {place: key for place, input in searches.items() if (key := self._key(rows[input.collection], input))}
        return dict.fromkeys(searches, _MISS) | await self._read(keys)

    def _key(self, row: Row | None, input: SearchInput) -> str | None:
        if row is None or row["model"] not in self._entries or input.model not in (None, row["model"]):
            return None
        entry = self._entries[row["model"]]
        searched = Searched(row["tenant"], row["id"], row["vectors_id"], row["version"], entry, row["weights"])
        return result_key(searched, input)

    async def _read(self, keys: Mapping[int, str]) -> dict[int, Looked]:
        looked: dict[int, Looked] = {}
        size = 0
        for part in _parts(keys):
            if size >= MAX_BYTES:
                break
            for (place, _), one in zip(part, await self._outputs.get_many([key for _, key in part]), strict=True):
                looked[place] = one or _MISS
                size += len(looked[place].json or "")
        return looked

    async def _look_for_collections(self, asked: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Row]:
        tenants, names = [tenant for tenant, _ in asked], [name for _, name in asked]
        rows = await self._database.fetch(COLLECTIONS, tenants, names)
        return {(row["tenant"], row["name"]): row for row in rows}

    async def _look_for_outputs(self, keys: Sequence[str]) -> dict[str, Looked]:
        contents = await self._cache.get_many(keys)
        if contents is None:
            return dict.fromkeys(keys, _AWAY)
        pairs = zip(keys, contents, strict=True)
        return {key: Looked("hit", content.decode()) for key, content in pairs if content is not None}


def _input(draft: Draft) -> SearchInput:
    """With the files that its inline pictures have become, as the worker will read it."""
    inline = any(picture.base64 is not None for _, picture in draft.kind.pictures(draft.input))
    input = SEARCH.input.model_validate(draft.raw) if inline else draft.input
    assert isinstance(input, SearchInput)
    return input


def _parts(keys: Mapping[int, str]) -> Iterator[list[tuple[int, str]]]:
    pairs = list(keys.items())
    return (pairs[start : start + PART] for start in range(0, len(pairs), PART))
