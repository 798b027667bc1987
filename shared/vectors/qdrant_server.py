"""Calls to a Qdrant server: what its refusals become, what a missing collection means, which version is too old."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import ApiException, UnexpectedResponse

from shared.errors import ConfigurationError, DependencyUnavailable
from shared.vectors import qdrant_points as points_of
from shared.vectors.protocol import CollectionRef

OLDEST_SERVER = (1, 16)
"""The first that knows `update_filter`; an older one would ignore it, and overwrite newer items."""

T = TypeVar("T")
M = TypeVar("M")


class _Missing(Exception):
    """Qdrant has no such collection."""


class QdrantServer:
    """Where the collection is missing, reads find nothing and writes create it: the row in `collections` is the truth.

    `index_payloads`: whether payload indexes are made.
    """

    def __init__(self, client: QdrantClient, *, index_payloads: bool = True) -> None:
        self.client = client
        self._index_payloads = index_payloads
        self._checked = False

    def create(self, collection: CollectionRef, indexes: Mapping[str, models.PayloadSchemaType]) -> None:
        """Make a collection; where it is there, only the payload indexes that are missing. `indexes`: type by key."""
        name = name_of(collection)
        with _reachable():
            self._check_version()
            there: Mapping[str, object] = {}
            if self.client.collection_exists(name):
                there = self.client.get_collection(name).payload_schema
            else:
                self._create(name, collection.dimension)
            missing = {key: type for key, type in {**points_of.INDEXES, **indexes}.items() if key not in there}
            if self._index_payloads:
                for key, type in missing.items():
                    self.client.create_payload_index(name, key, field_schema=type)

    def read(self, call: Callable[[], T], *, missing: M) -> T | M:
        """What `call` answers; `missing` where there is no such collection. Raises DependencyUnavailable."""
        try:
            with _reachable():
                return call()
        except _Missing:
            return missing

    def write(self, collection: CollectionRef, call: Callable[..., object]) -> None:
        """`call` with the collection's name and the ordering that conditional writes need."""
        write = partial(call, name_of(collection), ordering=models.WriteOrdering.MEDIUM)
        try:
            with _reachable():
                self._check_version()
                write()
        except _Missing:
            self.create(collection, {})
            with _reachable():
                write()

    def ping(self) -> None:
        with _reachable():
            self.client.info()

    def _create(self, name: str, dimension: int) -> None:
        vectors = {points_of.VECTOR: models.VectorParams(size=dimension, distance=models.Distance.COSINE)}
        try:
            self.client.create_collection(name, vectors_config=vectors)
        except UnexpectedResponse as error:
            if error.status_code != 409:  # another process was faster
                raise

    def _check_version(self) -> None:
        if not self._checked:
            version = self.client.info().version
            if tuple(int(part) for part in version.split(".")[:2]) < OLDEST_SERVER:
                needed = ".".join(map(str, OLDEST_SERVER))
                raise ConfigurationError(f"QDRANT_URL leads to Qdrant {version}; {needed} or later is needed.")
            self._checked = True


def name_of(collection: CollectionRef) -> str:
    """What Qdrant knows a collection by."""
    return f"darkroom_{collection.id.hex}"


@contextmanager
def _reachable() -> Iterator[None]:
    try:
        yield
    except UnexpectedResponse as error:
        if error.status_code == 404:
            raise _Missing from error
        if error.status_code is None or error.status_code in (408, 429) or error.status_code >= 500:
            raise DependencyUnavailable(f"Qdrant does not answer: {error}") from error
        raise
    except ApiException as error:
        raise DependencyUnavailable(f"Qdrant does not answer: {error}") from error
    except ValueError as error:
        # The client's in-process mode has no status codes.
        if str(error).startswith("Collection ") and str(error).endswith("not found"):
            raise _Missing from error
        raise
