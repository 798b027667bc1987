"""The items that answer a query, in order: by vectors, or by vectors and words together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from shared.vectors.protocol import Hit, StoredPoint, TextHit, Vector, VectorStore
from shared.vectors.words import MAX_WORDS, words
from workers.handlers.entries import slices
from workers.handlers.searching.queries import Query

FUSION_CONSTANT = 60
"""How little the first ranks outweigh the next: Cormack, Clarke and Büttcher, "Reciprocal Rank Fusion outperforms
Condorcet and individual Rank Learning Methods", SIGIR 2009.
"""
LEAST_DEPTH = 100
"""Hits of each ranking that are fused, at least."""
ITEMS_AT_ONCE = 256
"""Whose vectors are read to work out their cosines."""
TEXT_SHARE = 0.5
"""Of the best text's score: what matches less of it is not in the text ranking. Without this an item that has only the
common word of "SKU-1042" would, by any luck in the other ranking, come before the one that has both.
"""


@dataclass(frozen=True, eq=False)
class Ranked:
    """A result. `hit.score` is its cosine, `score` what it is ordered by."""

    hit: Hit
    score: float


@dataclass(frozen=True)
class Ranking:
    """A page of results, best first. `best`: the highest cosine in the collection, where the search came to see it."""

    page: list[Ranked]
    best: float | None


def rank(query: Query, vector: Vector, store: VectorStore) -> Ranking:
    """What the query asks for, from `offset` on."""
    return _by_vector(query, vector, store) if query.input.text_match is None else _hybrid(query, vector, store)


def best_cosine(query: Query, vector: Vector, store: VectorStore) -> float | None:
    """The highest cosine in the whole collection, whatever the filter; None where it is empty."""
    hits = store.search(query.collection.ref, vector, top_k=1, with_payloads=False, exclude_ids=query.named_items)
    return hits[0].score if hits else None


def _by_vector(query: Query, vector: Vector, store: VectorStore) -> Ranking:
    input = query.input
    hits = store.search(
        query.collection.ref,
        vector,
        top_k=input.top_k,
        offset=input.offset,
        filter=query.filter,
        min_score=input.min_score,
        with_vectors=input.include_vectors,
        with_payloads=input.include_payload is not False,
        exclude_ids=query.named_items,
    )
    from_the_top = query.filter is None and input.offset == 0
    return Ranking([Ranked(hit, hit.score) for hit in hits], hits[0].score if hits and from_the_top else None)


def _hybrid(query: Query, vector: Vector, store: VectorStore) -> Ranking:
    """Both rankings to the same depth; an item's score is the sum of 1 / (60 + rank) over those that it is in."""
    input, ref = query.input, query.collection.ref
    depth = max(input.offset + input.top_k, LEAST_DEPTH)
    near = store.search(
        ref,
        vector,
        top_k=depth,
        filter=query.filter,
        with_payloads=False,
        exclude_ids=query.named_items,
    )
    named = store.search_text(ref, _looked_for(query), top_k=depth, filter=query.filter, exclude_ids=query.named_items)
    text_ids = _matching_well(named)
    cosines = {hit.id: hit.score for hit in near}
    cosines |= _cosines(query, vector, [id for id in text_ids if id not in cosines], store)
    ranked = [(id, score) for id, score in fused([hit.id for hit in near], text_ids) if id in cosines]
    if input.min_score is not None:
        ranked = [(id, score) for id, score in ranked if cosines[id] >= input.min_score]
    page = ranked[input.offset : input.offset + input.top_k]
    return Ranking(_shown(query, page, cosines, store), near[0].score if near and query.filter is None else None)


def fused(by_vector: list[str], by_text: list[str]) -> list[tuple[str, float]]:
    """Ids with their fused scores, best first. Of equal scores the one that the words rank higher comes first: a name
    that the model knows nothing of is found even where its item is far from the query vector.
    """
    vector_ranks = {id: rank for rank, id in enumerate(by_vector, start=1)}
    text_ranks = {id: rank for rank, id in enumerate(by_text, start=1)}
    last = len(by_text) + 1

    def score(id: str) -> float:
        return sum(1 / (FUSION_CONSTANT + ranks[id]) for ranks in (vector_ranks, text_ranks) if id in ranks)

    scores = {id: score(id) for id in vector_ranks | text_ranks}
    return sorted(scores.items(), key=lambda pair: (-pair[1], text_ranks.get(pair[0], last), pair[0]))


def _looked_for(query: Query) -> list[str]:
    found = words(query.input.text_match or "")
    if len(found) > MAX_WORDS:
        query.remarked = True
        query.job.log(f"text_match has {len(found)} words; only the first {MAX_WORDS} were looked for.")
    return found[:MAX_WORDS]


def _matching_well(hits: list[TextHit]) -> list[str]:
    return [hit.id for hit in hits if hit.score >= TEXT_SHARE * hits[0].score]


def _cosines(query: Query, vector: Vector, ids: Sequence[str], store: VectorStore) -> dict[str, float]:
    """Of items that only the text ranking has, by their stored vectors; a few at a time, as payloads come with them."""
    found: dict[str, float] = {}
    for some in slices(ids, ITEMS_AT_ONCE):
        stored = store.get(query.collection.ref, some, with_vectors=True)
        found |= {id: _cosine(point, vector) for id, point in stored.items()}
    return found


def _cosine(point: StoredPoint, vector: Vector) -> float:
    assert point.vector is not None
    own = point.vector.astype(np.float64)
    cosine = float(own @ vector.astype(np.float64)) / float(np.linalg.norm(own))
    return max(-1.0, min(1.0, cosine))


def _shown(
    query: Query, page: Sequence[tuple[str, float]], cosines: Mapping[str, float], store: VectorStore
) -> list[Ranked]:
    """The page (id, fused score) with what is stored of its items; those that went meanwhile are left out."""
    stored = store.get(query.collection.ref, [id for id, _ in page], with_vectors=query.input.include_vectors)
    found = [(score, stored[id]) for id, score in page if id in stored]
    return [
        Ranked(Hit(point.id, cosines[point.id], point.payload, point.text, point.vector), score)
        for score, point in found
    ]
