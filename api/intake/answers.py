"""Searches that were asked before: their outputs from the cache, so that no worker has to run them again."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from api.intake.drafts import Draft
from shared.cache.clients import AsyncCache
from shared.cache.results import Searched, result_key
from shared.contracts.search import SEARCH, SearchInput
from shared.database.asynchronous import Database, Row
from shared.loaded_models import entry_of
from shared.model_registry import ModelRegistry

Answer = Literal["hit", "miss", "away"]
PART = 32
"""Entries that one request reads at a time."""
MAX_BYTES = 4_000_000
"""A batch takes outputs from the cache until it has so many bytes of them; workers see to the rest."""

# At the very moment of the request: what was written before it has moved the version that is read here.
COLLECTIONS = """
SELECT c.name, c.id, c.vectors_id, c.version, c.model, l.weights
FROM collections c JOIN loaded_models l ON l.alias = c.model
WHERE c.tenant = $1 AND c.name = ANY($2::text[]) AND c.deleted_at IS NULL
"""


@dataclass(frozen=True, slots=True)
class Looked:
    """What the cache knew of one draft. `json`: the output, on a hit."""

    answer: Answer
    json: str | None = None


class KnownAnswers:
    """Looks drafts up. Raises nothing for a cache that is away; DependencyUnavailable when Postgres is."""

    def __init__(self, database: Database, registry: ModelRegistry, cache: AsyncCache) -> None:
        self._database = database
        self._registry = registry
        self._cache = cache

    async def look_up(self, tenant: str, drafts: Sequence[Draft]) -> dict[int, Looked]:
        """What is known of the searches among checked drafts, by their place; others are not in the answer."""
        if not self._cache.enabled:
            return {}
        searches = {place: _input(draft) for place, draft in enumerate(drafts) if draft.kind is SEARCH}
        if not searches:
            return {}
        names = sorted({input.collection for input in searches.values()})
        rows = {row["name"]: row for row in await self._database.fetch(COLLECTIONS, tenant, names)}
        keys = {place: key for place, input in searches.items() if (key := self._key(tenant, rows, input))}
        return {place: Looked("miss") for place in searches} | await self._read(keys)

    def _key(self, tenant: str, rows: Mapping[str, Row], input: SearchInput) -> str | None:
        row = rows.get(input.collection)
        if row is None or row["model"] not in self._registry or input.model not in (None, row["model"]):
            return None
        entry = entry_of(self._registry.get(row["model"]))
        searched = Searched(tenant, row["id"], row["vectors_id"], row["version"], entry, row["weights"])
        return result_key(searched, input)

    async def _read(self, keys: Mapping[int, str]) -> dict[int, Looked]:
        looked: dict[int, Looked] = {}
        size = 0
        for part in _parts(keys):
            values = await self._cache.get_many([key for _, key in part]) if size < MAX_BYTES else [None] * len(part)
            if values is None:
                return looked | {place: Looked("away") for place in keys if place not in looked}
            for (place, _), value in zip(part, values, strict=True):
                size += len(value or b"")
                looked[place] = Looked("miss") if value is None else Looked("hit", value.decode())
        return looked


def _input(draft: Draft) -> SearchInput:
    """With the files that its inline pictures have become, as the worker will read it."""
    inline = any(picture.base64 is not None for _, picture in draft.kind.pictures(draft.input))
    input = SEARCH.input.model_validate(draft.raw) if inline else draft.input
    assert isinstance(input, SearchInput)
    return input


def _parts(keys: Mapping[int, str]) -> Iterator[list[tuple[int, str]]]:
    pairs = list(keys.items())
    return (pairs[start : start + PART] for start in range(0, len(pairs), PART))
