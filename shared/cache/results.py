"""Whole search results, by all that they depend on.

A result is kept under the version of its collection. Three things make sure that it is never older than its key:

1. Every write into a collection moves its version in the transaction of the write itself (Qdrant: in the one that
   holds the collection's row while Qdrant is written to, so that they end together).
2. A worker reads the version *before* it searches, and keeps the result under that version. So the result has every
   write up to it. It may have a later one as well: then it is newer than its key says.
3. Whoever asks is answered from the version that the row has at that moment. Once a write is there, so is its version,
   and what was kept before lies under another key.

With Qdrant a write may be there a moment before its version. A result that already has it is kept under the old
version and is new, not old; a result from before it is found until the version moves, as if the search had come
before the write: nobody has been told yet that the write is there. When a worker dies between the two, its job is not
finished and runs again; and what it writes then moves the version, whether or not it finds its work done.

`vectors_id` is part of the key, so a collection that was deleted and made anew, or rebuilt with another model, never
meets what was kept of the old one; and so are the model's entry and its weights (`shared/loaded_models.py`).
"""

import uuid
from dataclasses import dataclass

from shared.cache.entries import key_of
from shared.contracts.search import SEARCH, SearchInput

_FORM = 1
"""Raise it when the same search comes to mean another result, or results get another form."""


@dataclass(frozen=True, slots=True)
class Searched:
    """What a result was found in: a collection at a version, by a model."""

    tenant: str
    collection_id: uuid.UUID
    vectors_id: uuid.UUID
    version: int
    model_entry: str
    weights: str


def result_key(searched: Searched, input: SearchInput) -> str | None:
    """The key of a search's result; None for one that must not be kept: what a URL shows may change.

    `collection` and `model` are left out: the ids say which collection it is, and that which model.
    """
    if any(picture.file is None for _, picture in SEARCH.pictures(input)):
        return None
    scope = [searched.tenant, str(searched.collection_id), str(searched.vectors_id), searched.version]
    query = input.model_dump(mode="json", exclude={"collection", "model"})
    return key_of("result", [_FORM, *scope, searched.model_entry, searched.weights, query])
