"""Texts and pictures to vectors by a leased model, without working out again what is in the cache.

For `embed`, `search` and the labels of `tag`, whose inputs come again. Not for the pictures of `index` and `tag`: they
seldom come twice, and what has not changed is skipped there anyway, so the cache would only fill up. A vector is kept
by tenant, content, weights and precision. It says nothing that another tenant could not work out from the same content;
that it was there already would, by how soon it comes.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image

from shared.cache.clients import EntryCache
from shared.cache.entries import key_of
from workers.runtimes.protocol import EmbeddingRuntime, Pixels, Vectors
from workers.services import Services

Vector = NDArray[np.float32]
"""`(d,)`, unit length."""
OwnedText = tuple[str, str]
"""(tenant, text)."""

_LITTLE_ENDIAN = np.dtype("<f4")
_LENGTH_ERROR = 1e-2
"""A vector whose length is further from 1 is none of a model's."""


@dataclass(frozen=True, eq=False)
class Prepared:
    """A picture on its way to its vector: the pixels that the model reads, or the vector where that is known."""

    key: str | None
    pixels: Pixels | None = None
    vector: Vector | None = None


class CachedModel:
    """A loaded model that remembers."""

    def __init__(self, model: EmbeddingRuntime, cache: EntryCache, weights: str) -> None:
        """`weights`: what tells the loaded weights from others."""
        self.model = model
        self._cache = cache
        self._made_by = (weights, model.precision)

    def texts(self, texts: Sequence[OwnedText]) -> Vectors:
        """Unit rows `(n, d)` in the order of the texts. What has to be worked out is one forward pass, in which equal
        texts are one.
        """
        keys = [self._key("text", tenant, text) for tenant, text in texts]
        known = self._known(keys)
        missing = list(dict.fromkeys(text for (_, text), row in zip(texts, known, strict=True) if row is None))
        made = dict(zip(missing, self.model.encode_texts(missing), strict=True)) if missing else {}
        rows = [made[text] if row is None else row for (_, text), row in zip(texts, known, strict=True)]
        self._keep(keys, known, rows)
        return self._stacked(rows)

    def prepare(self, tenant: str, data: bytes, decode: Callable[[], Image]) -> Prepared:
        """A picture's file, looked up by its bytes, and decoded only when it is not known. For the loader's threads.

        Raises what `decode` does.
        """
        key = self._key("image", tenant, hashlib.sha256(data).hexdigest()) if self._cache.enabled else None
        (vector,) = self._known([key])
        if vector is not None:
            return Prepared(key, vector=vector)
        return Prepared(key, pixels=self.model.preprocess(decode()))

    def pictures(self, batch: Sequence[Prepared]) -> Vectors:
        """Unit rows `(n, d)` in the order of the pictures; those that were not known are one forward pass."""
        pixels = [one.pixels for one in batch if one.pixels is not None]
        made = iter(self.model.encode_images(np.stack(pixels)) if pixels else ())
        rows = [next(made) if one.vector is None else one.vector for one in batch]
        self._keep([one.key for one in batch], [one.vector for one in batch], rows)
        return self._stacked(rows)

    def _key(self, what: str, tenant: str, content: str) -> str | None:
        return key_of(what, [*self._made_by, tenant, content]) if self._cache.enabled else None

    def _known(self, keys: Sequence[str | None]) -> list[Vector | None]:
        asked = list(dict.fromkeys(key for key in keys if key))
        found = dict(zip(asked, self._cache.get_many(asked), strict=True)) if asked else {}
        return [self._vector(found.get(key)) if key else None for key in keys]

    def _vector(self, content: bytes | None) -> Vector | None:
        if content is None or len(content) != self.model.dimension * _LITTLE_ENDIAN.itemsize:
            return None
        vector = np.frombuffer(content, _LITTLE_ENDIAN).astype(np.float32)
        return vector if abs(float(np.linalg.norm(vector)) - 1) < _LENGTH_ERROR else None

    def _keep(self, keys: Sequence[str | None], known: Sequence[Vector | None], rows: Sequence[Vector]) -> None:
        """Keep the rows that were not known."""
        new = {
            key: row.astype(_LITTLE_ENDIAN).tobytes()
            for key, before, row in zip(keys, known, rows, strict=True)
            if key and before is None
        }
        if new:
            self._cache.put_many(new)

    def _stacked(self, rows: Sequence[Vector]) -> Vectors:
        return np.stack(rows) if rows else np.empty((0, self.model.dimension), dtype=np.float32)


@contextmanager
def leased(services: Services, alias: str) -> Iterator[CachedModel]:
    """The model, kept loaded until the block ends, with the cache in front of it. Raises as `Embedders.lease`."""
    with services.embedders.lease(alias) as model:
        yield CachedModel(model, services.cache, services.embedders.weights(alias))
