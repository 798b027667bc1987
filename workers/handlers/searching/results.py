"""What a client sees of a ranked item."""

import math
from collections.abc import Sequence
from typing import Any

from shared.collections import Distance
from shared.contracts.search import SearchInput, SearchOutput, SearchResult
from workers.handlers.searching.ranking import Ranked


def output(
    page: Sequence[Ranked], input: SearchInput, measure: Distance, relevances: Sequence[float] | None
) -> SearchOutput:
    """The page as it goes onto the wire; `relevances` belong to its items one by one."""
    given = relevances if relevances is not None else [None] * len(page)
    results = [_result(one, input, measure, relevance) for one, relevance in zip(page, given, strict=True)]
    return SearchOutput.model_construct(results=results)


def _result(ranked: Ranked, input: SearchInput, measure: Distance, relevance: float | None) -> SearchResult:
    hit, shown = ranked.hit, input.include_payload
    return SearchResult.model_construct(
        id=hit.id,
        score=ranked.score,
        cosine=hit.score,
        distance=distance(hit.score, measure),
        relevance=relevance,
        payload=None if shown is False else hit.payload if shown is True else chosen(hit.payload, shown),
        text=hit.text if shown is True else None,
        vector=None if hit.vector is None else hit.vector.tolist(),
    )


def distance(cosine: float, measure: Distance) -> float:
    """From the query, both of unit length: the smaller, the nearer. `dot` is the negative inner product."""
    if measure == "dot":
        return -cosine
    if measure == "euclidean":
        return math.sqrt(max(0.0, 2 - 2 * cosine))
    return 1 - cosine


def chosen(payload: dict[str, Any], paths: Sequence[str]) -> dict[str, Any]:
    """The fields of a payload that these dotted paths lead to, in the objects that hold them."""
    found: dict[str, Any] = {}
    for path in paths:
        _copy(payload, path.split("."), found)
    return found


def _copy(source: dict[str, Any], keys: Sequence[str], target: dict[str, Any]) -> None:
    key, rest = keys[0], keys[1:]
    if key not in source:
        return
    if not rest or (key in target and target[key] is source[key]):  # wanted, or there already, as a whole
        target[key] = source[key]
    elif isinstance(source[key], dict):
        inner = target.get(key, {})
        _copy(source[key], rest, inner)
        if inner:
            target[key] = inner
