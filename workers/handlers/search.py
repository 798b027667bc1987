"""`search`: what is nearest to a mix of texts, pictures, items and vectors. A batch embeds its queries together."""

from shared.contracts.search import SearchInput, SearchOutput
from shared.errors import JobError, JobStopped
from workers.context import JobContext
from workers.handlers.searching import results
from workers.handlers.searching.embedding import embed_pictures, embed_texts
from workers.handlers.searching.keeping import Keeping
from workers.handlers.searching.queries import Query, Vector, mix, open_query
from workers.handlers.searching.ranking import Ranking, best_cosine, rank
from workers.handlers.searching.relevance import relevances

Answer = SearchOutput | JobError | JobStopped


def handle(inputs: list[SearchInput], context: JobContext) -> list[Answer]:
    """Jobs of any collections; those whose collections share a model share forward passes.

    Queries without a picture are answered first: they do not wait for another one's picture to be fetched.
    """
    answers: dict[int, Answer] = {}
    keeping = Keeping(context)

    def settle(position: int, found: Answer) -> None:
        answers[position] = found
        context.settle(position, found)

    def settle_query(position: int) -> None:
        found = answer(queries[position], context)
        keeping.add(queries[position], found)
        settle(position, found)

    queries: dict[int, Query] = {}
    for position, input in enumerate(inputs):
        try:
            query = queries[position] = open_query(input, context.jobs[position], context)
            query.key = keeping.key(query)
        except JobError as error:
            settle(position, error)
    embed_texts(queries.values(), context)
    waiting = {key: query for key, query in queries.items() if query.has_pictures and query.error is None}
    with keeping:
        for position in queries:
            if position not in waiting:
                settle_query(position)
    for position in embed_pictures(waiting, context):
        with keeping:
            settle_query(position)
    return [answers[position] for position in range(len(inputs))]


def answer(query: Query, context: JobContext) -> Answer:
    """Search by a query whose parts all have their vectors, unless something went wrong on the way to them."""
    if query.error is not None:
        return query.error
    try:
        vector = mix(query.parts)
        ranking = rank(query, vector, context.services.vectors)
        relevance = _relevances(query, vector, ranking, context) if query.input.calibrated else None
    except JobError as error:
        return error
    return results.output(ranking.page, query.input, query.collection.distance, relevance)


def _relevances(query: Query, vector: Vector, ranking: Ranking, context: JobContext) -> list[float]:
    if not ranking.page:
        return []
    vectors = context.services.vectors
    cosines = [one.hit.score for one in ranking.page]
    seen = ranking.best if ranking.best is not None else best_cosine(query, vector, vectors)
    best = max([*cosines, seen] if seen is not None else cosines)
    return relevances(cosines, best, context.services.samples.of(query.collection, vectors), vector)
