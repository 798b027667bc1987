"""Texts and pictures of a batch of searches to vectors: jobs whose collections share a model share forward passes."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from typing import TypeVar

from shared.errors import PermanentJobError
from workers.context import JobContext
from workers.embedding import CachedModel, Prepared, leased
from workers.handlers.entries import IMAGE_BATCH, TEXT_BATCH, slices
from workers.handlers.searching.queries import Part, Query
from workers.pictures import Wanted

K = TypeVar("K")
Slot = tuple[int, int]
"""(query, part within it)."""


def embed_texts(queries: Iterable[Query], context: JobContext) -> None:
    """Give each part that is a text its vector. A model that cannot costs only the jobs that need it."""
    wanted = [(query, part) for query in queries for part in query.parts if part.asked.text is not None]
    for alias, group in _grouped((query.collection.model, (query, part)) for query, part in wanted).items():
        try:
            with leased(context.services, alias) as model:
                _embed_texts(group, model)
        except PermanentJobError as error:
            for query, _ in group:
                query.error = error


def _embed_texts(wanted: list[tuple[Query, Part]], model: CachedModel) -> None:
    for some in slices(wanted, TEXT_BATCH):
        texts = [(query.job.tenant, part.asked.text or "") for query, part in some]
        cuts = model.model.truncated([text for _, text in texts])
        for (query, part), vector, cut in zip(some, model.texts(texts), cuts, strict=True):
            part.vector = vector
            if cut:
                query.remarked = True
                query.job.log(f"{part.path} is longer than the model reads; only its beginning was searched for.")


def embed_pictures(queries: dict[int, Query], context: JobContext) -> Iterator[int]:
    """Give each part that is a picture its vector. Yields the key of each query once its last picture has come, or
    its first has failed to.
    """
    for alias, keys in _grouped((query.collection.model, key) for key, query in queries.items()).items():
        told: set[int] = set()
        try:
            with leased(context.services, alias) as model:
                for key in _embed_pictures({key: queries[key] for key in keys}, model, context):
                    told.add(key)
                    yield key
        except PermanentJobError as error:
            for key in keys:
                if key not in told:
                    queries[key].error = error
                    yield key


def _embed_pictures(queries: dict[int, Query], model: CachedModel, context: JobContext) -> Iterator[int]:
    pictures = context.services.pictures
    wanted = [
        Wanted((key, index), part.asked.image, query.job)
        for key, query in queries.items()
        for index, part in enumerate(query.parts)
        if part.asked.image is not None
    ]
    left = Counter(one.key[0] for one in wanted)

    def prepare(slot: Slot, data: bytes) -> Prepared:
        tenant = queries[slot[0]].job.tenant
        return model.prepare(tenant, data, lambda: pictures.decode(data, min_side=model.model.decode_hint))

    for batch in pictures.load(wanted, prepare, batch=IMAGE_BATCH, before_waiting=context.flush):
        good = [(slot, prepared) for slot, prepared in batch if isinstance(prepared, Prepared)]
        vectors = model.pictures([prepared for _, prepared in good])
        for ((key, index), _), vector in zip(good, vectors, strict=True):
            queries[key].parts[index].vector = vector
        for (key, _), result in batch:
            left[key] -= 1
            if queries[key].error is None and not isinstance(result, Prepared):
                queries[key].error = result
                yield key
            elif queries[key].error is None and left[key] == 0:
                yield key


def _grouped(pairs: Iterable[tuple[str, K]]) -> dict[str, list[K]]:
    groups: dict[str, list[K]] = defaultdict(list)
    for key, value in pairs:
        groups[key].append(value)
    return groups
