"""`search`: what is nearest to a text, a picture, an item or a vector. A batch embeds its queries together."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from shared.collections import CollectionRow
from shared.contracts.search import SearchInput, SearchOutput, SearchResult
from shared.errors import ErrorCode, InvalidInput, JobError, JobStopped, PermanentJobError
from shared.vectors.filters import parse
from shared.vectors.protocol import Hit
from workers.context import JobContext, JobHandle
from workers.handlers.entries import IMAGE_BATCH
from workers.pictures import Wanted
from workers.runtimes.protocol import EmbeddingRuntime
from workers.services import model_mismatch

Vector = NDArray[np.float32]


@dataclass(eq=False)
class _Query:
    """One job with the unit vectors that it asks by; several weigh the same."""

    input: SearchInput
    job: JobHandle
    collection: CollectionRow
    parts: list[Vector] = field(default_factory=list)
    error: JobError | JobStopped | None = None

    @property
    def vector(self) -> Vector:
        mean: Vector = np.mean(np.stack(self.parts), axis=0, dtype=np.float32)
        return mean


def handle(inputs: list[SearchInput], context: JobContext) -> list[SearchOutput | JobError | JobStopped]:
    """Jobs of any collections; those whose collections share a model share forward passes.

    Queries without a picture are answered first: they do not wait for another one's picture to be fetched.
    """
    results: dict[int, SearchOutput | JobError | JobStopped] = {}
    queries: dict[int, _Query] = {}
    for position, input in enumerate(inputs):
        try:
            queries[position] = _open(input, context.jobs[position], context)
        except JobError as error:
            results[position] = error
    for position, refused in results.items():
        context.settle(position, refused)

    def answer(position: int) -> None:
        results[position] = _search(queries[position], context)
        context.settle(position, results[position])

    _embed_texts(queries.values(), context)
    for position, query in queries.items():
        if query.input.image is None:
            answer(position)
    pictured = {position: query for position, query in queries.items() if query.input.image is not None}
    for position in _embed_pictures(pictured, context):
        answer(position)
    return [results[position] for position in range(len(inputs))]


def _by_model(queries: Iterable[_Query]) -> dict[str, list[_Query]]:
    by_model: dict[str, list[_Query]] = defaultdict(list)
    for query in queries:
        by_model[query.collection.model].append(query)
    return by_model


def _open(input: SearchInput, job: JobHandle, context: JobContext) -> _Query:
    collection = context.services.collections.find(job.tenant, input.collection)
    if collection is None:
        message = f"There is no collection {input.collection!r}. Index into it first, or correct its name."
        raise PermanentJobError(ErrorCode.COLLECTION_UNKNOWN, message)
    if input.model is not None and input.model != collection.model:
        raise model_mismatch(collection, input.model)
    query = _Query(input, job, collection)
    if input.vector is not None:
        query.parts.append(_unit(input.vector, collection))
    if input.item is not None:
        query.parts.append(_vector_of(input.item, collection, context))
    return query


def _unit(values: list[float], collection: CollectionRow) -> Vector:
    vector = np.asarray(values, dtype=np.float32)
    if vector.shape != (collection.dimension,):
        message = f"The query vector has {len(values)} numbers; {collection.name!r} holds {collection.dimension}."
        raise PermanentJobError(ErrorCode.MODEL_MISMATCH, message)
    norm = float(np.linalg.norm(vector))
    if not np.isfinite(norm) or norm == 0:
        raise PermanentJobError(ErrorCode.INVALID_INPUT, "The query vector must be finite and not all zero.")
    return vector / np.float32(norm)


def _vector_of(item: str, collection: CollectionRow, context: JobContext) -> Vector:
    found = context.services.vectors.get(collection.ref, [item], with_vectors=True).get(item)
    if found is None or found.vector is None:
        message = f"The collection {collection.name!r} has no item {item!r} to recommend by."
        raise PermanentJobError(ErrorCode.ITEM_UNKNOWN, message)
    return found.vector


def _embed_texts(queries: Iterable[_Query], context: JobContext) -> None:
    """Give each query that has a text its vector."""
    for alias, group in _by_model(query for query in queries if query.input.text is not None).items():
        texts = [query.input.text or "" for query in group]
        with context.services.embedders.lease(alias) as model:
            for query, vector, cut in zip(group, model.encode_texts(texts), model.truncated(texts), strict=True):
                query.parts.append(vector)
                if cut:
                    query.job.log("The text is longer than the model reads; only its beginning was searched for.")


def _embed_pictures(queries: dict[int, _Query], context: JobContext) -> Iterator[int]:
    """Give each query its picture's vector. Yields each as its picture has come, or has failed to."""
    pictures = context.services.pictures
    for alias, group in _by_model(queries.values()).items():
        with context.services.embedders.lease(alias) as model:
            wanted = [
                Wanted(position, query.input.image, query.job)
                for position, query in queries.items()
                if query in group and query.input.image is not None
            ]

            def prepare(_: int, data: bytes, model: EmbeddingRuntime = model) -> NDArray[np.uint8]:
                return model.preprocess(pictures.decode(data, min_side=model.decode_hint))

            for batch in pictures.load(wanted, prepare, batch=IMAGE_BATCH, before_waiting=context.flush):
                good = [(queries[position], pixels) for position, pixels in batch if isinstance(pixels, np.ndarray)]
                vectors = model.encode_images(np.stack([pixels for _, pixels in good])) if good else ()
                for (query, _), vector in zip(good, vectors, strict=True):
                    query.parts.append(vector)
                for position, result in batch:
                    if not isinstance(result, np.ndarray):
                        queries[position].error = result
                    yield position


def _search(query: _Query, context: JobContext) -> SearchOutput | JobError | JobStopped:
    input = query.input
    if query.error:
        return query.error
    try:
        hits = context.services.vectors.search(
            query.collection.ref,
            query.vector,
            top_k=input.top_k,
            offset=input.offset,
            filter=parse(input.filter) if input.filter is not None else None,
            min_score=input.min_score,
            with_vectors=input.include_vectors,
            exclude_ids=[input.item] if input.item is not None else (),
        )
    except JobError as error:
        return error
    except InvalidInput as error:
        return PermanentJobError(ErrorCode.INVALID_INPUT, error.message)
    return SearchOutput.model_construct(results=[_result(hit) for hit in hits])


def _result(hit: Hit) -> SearchResult:
    vector = None if hit.vector is None else hit.vector.tolist()
    return SearchResult.model_construct(id=hit.id, score=hit.score, payload=hit.payload, vector=vector)
