"""One search as the handler carries it: its parts with their vectors, and the one vector that they mix to."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from shared.collections import CollectionRow
from shared.contracts.search import QueryPart, SearchInput
from shared.errors import ErrorCode, InvalidInput, JobError, JobStopped, PermanentJobError
from shared.vectors.filters import Filter, parse
from shared.vectors.protocol import VectorStore
from workers.context import JobContext, JobHandle
from workers.services import model_mismatch, named_collection

Vector = NDArray[np.float32]

CANCELED_OUT = 1e-3
"""Length of a mix, over the sum of its weights, below which what is left is the noise of half precision."""


@dataclass(eq=False)
class Part:
    """One thing asked for. `path`: its place in the input; `vector`: unit length, once it is known."""

    path: str
    asked: QueryPart
    vector: Vector | None = None


@dataclass(eq=False)
class Query:
    """One job: what it asks for, and why it cannot be answered if something went wrong on the way."""

    input: SearchInput
    job: JobHandle
    collection: CollectionRow
    filter: Filter | None = None
    parts: list[Part] = field(default_factory=list)
    error: JobError | JobStopped | None = None
    key: str | None = None
    """Under which its result is kept in the cache; None: it is not."""
    remarked: bool = False
    """Its job's log says something of how it was answered."""

    @property
    def has_pictures(self) -> bool:
        return any(part.asked.image is not None for part in self.parts)

    @property
    def named_items(self) -> list[str]:
        """The items that the query is made of: they are no results, whatever their weight."""
        return list(dict.fromkeys(part.asked.item for part in self.parts if part.asked.item is not None))


def open_query(input: SearchInput, job: JobHandle, context: JobContext) -> Query:
    """Look up what a search names, and give its items and raw vectors their unit vectors.

    Raises:
        PermanentJobError: `collection_unknown`, `model_mismatch`, `item_unknown`, or `invalid_input` for the filter.
    """
    collection = named_collection(context.services.collections, job.tenant, input.collection)
    if input.model is not None and input.model != collection.model:
        raise model_mismatch(collection, input.model)
    parts = [Part(path, asked) for path, asked in input.parts()]
    query = Query(input, job, collection, _filter_of(input, collection), parts)
    for part in parts:
        if part.asked.vector is not None:
            part.vector = _checked(part.asked.vector, part.path, collection)
    _fill_items(query, context.services.vectors)
    return query


def mix(parts: Sequence[Part]) -> Vector:
    """The weighted sum of the parts' unit vectors, itself of unit length.

    Raises:
        PermanentJobError: `invalid_input`; they cancel each other out.
    """
    weights = np.array([part.asked.weight for part in parts], dtype=np.float64)
    weights /= np.abs(weights).max()  # squares of the smallest doubles are zero
    vectors = np.stack([part.vector for part in parts if part.vector is not None]).astype(np.float64)
    mixed = weights @ vectors
    length = float(np.linalg.norm(mixed))
    if length < CANCELED_OUT * float(np.abs(weights).sum()):
        raise PermanentJobError(
            ErrorCode.INVALID_INPUT,
            "The parts of the query cancel each other out, so that nothing is left to be near to. Change a weight, or "
            "leave out what is asked for and against.",
        )
    unit: Vector = (mixed / length).astype(np.float32)
    return unit


def _filter_of(input: SearchInput, collection: CollectionRow) -> Filter | None:
    if input.filter is None:
        return None
    try:
        return parse(input.filter, schema=collection.payload_schema)
    except InvalidInput as error:
        faults = "; ".join(f"{fault.path} {fault.message}" for fault in error.faults[:5])
        raise PermanentJobError(ErrorCode.INVALID_INPUT, f"{error.message} {faults}".strip()) from None


def _checked(values: list[float], path: str, collection: CollectionRow) -> Vector:
    vector = np.asarray(values, dtype=np.float64)
    if vector.shape != (collection.dimension,):
        message = f"{path} has {len(values)} numbers; the vectors of {collection.name!r} have {collection.dimension}."
        raise PermanentJobError(ErrorCode.MODEL_MISMATCH, message)
    if not np.isfinite(vector).all() or not vector.any():
        raise PermanentJobError(ErrorCode.INVALID_INPUT, f"{path} must be finite and not all zero.")
    return _unit(vector)


def _fill_items(query: Query, vectors: VectorStore) -> None:
    named = query.named_items
    if not named:
        return
    stored = vectors.get(query.collection.ref, named, with_vectors=True)
    if unknown := [item for item in named if item not in stored]:
        listed = ", ".join(map(repr, unknown[:10]))
        message = f"The collection {query.collection.name!r} has no item {listed}. Name items that it has."
        raise PermanentJobError(ErrorCode.ITEM_UNKNOWN, message)
    for part in query.parts:
        if part.asked.item is not None:
            vector = stored[part.asked.item].vector
            assert vector is not None
            part.vector = _unit(vector.astype(np.float64))


def _unit(vector: NDArray[np.float64]) -> Vector:
    vector = vector / np.abs(vector).max()  # squares of the largest doubles are infinite
    unit: Vector = (vector / np.linalg.norm(vector)).astype(np.float32)
    return unit
