"""Results for whoever asks the same again: kept under what they were found in (`shared/cache/results.py`)."""

from contextlib import AbstractContextManager

import orjson

from shared.cache.results import Searched, result_key
from shared.contracts.search import SearchOutput
from shared.errors import JobError, JobStopped
from shared.loaded_models import entry_of
from workers.context import JobContext
from workers.handlers.searching.queries import Query


class Keeping(AbstractContextManager[None]):
    """The results of one batch. At the end of each `with` block, what was added in it is put into the cache: before the
    jobs are written to have ended, so that who asks again then is answered from it.
    """

    def __init__(self, context: JobContext) -> None:
        self._context = context
        self._found: dict[str, bytes] = {}

    def key(self, query: Query) -> str | None:
        """Where the result of a query that was just opened goes; None: it is not kept.

        Work it out before anything is searched, by the collection's row as it was read before: what is written from
        then on may be in the result, but not the other way round.
        """
        services, collection = self._context.services, query.collection
        embedders = services.embedders
        if not services.cache.enabled or collection.model not in embedders.registry:
            return None
        searched = Searched(
            tenant=query.job.tenant,
            collection_id=collection.id,
            vectors_id=collection.vectors_id,
            version=collection.version,
            model_entry=entry_of(embedders.registry.get(collection.model)),
            weights=embedders.weights(collection.model),
        )
        return result_key(searched, query.input)

    def add(self, query: Query, found: SearchOutput | JobError | JobStopped) -> None:
        """A query was answered. With a remark in its log it is not kept: the log is no part of a result."""
        if query.key and not query.remarked and isinstance(found, SearchOutput):
            self._found[query.key] = orjson.dumps(found.model_dump(mode="json"))

    def __exit__(self, *_: object) -> None:
        self._context.services.cache.put_many(self._found)
        self._found = {}
