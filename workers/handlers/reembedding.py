"""The vectors that a `reembed` job makes, compared with those of the collection in passes."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from shared.contracts.common import PictureFields
from shared.contracts.reembed import MAX_FAILED, ReembedInput
from shared.errors import ErrorCode, JobError, JobStopped, PermanentJobError, RetryableJobError
from shared.images.hashing import file_hash
from shared.rebuilding import BUILD_SECONDS
from shared.vectors.protocol import CollectionRef, Point, StoredPoint
from workers.context import JobHandle
from workers.handlers.entries import IMAGE_BATCH, content_hash, slices
from workers.pictures import Wanted
from workers.runtimes.protocol import EmbeddingRuntime
from workers.services import Services

PAGE = 256
"""Items read, compared and written at once."""
FIRST_PASS = 0.95
"""The part of the progress that is the first pass."""

_Prepared = tuple[NDArray[np.uint8], str]
"""Pixels as the model reads them, and the hash of the picture's bytes."""


class VectorCopy:
    """Another model's vectors of a collection's items.

    Args:
        old: the collection's own.
        build: where the new ones go; what an earlier attempt left there is used.
        look: called between pages; raises JobError when `old` are not the collection's any more.
    """

    def __init__(
        self,
        input: ReembedInput,
        job: JobHandle,
        services: Services,
        model: EmbeddingRuntime,
        *,
        old: CollectionRef,
        build: CollectionRef,
        look: Callable[[], object],
    ) -> None:
        self._input = input
        self._job = job
        self._collections = services.collections
        self._vectors = services.vectors
        self._pictures = services.pictures
        self._model = model
        self._old = old
        self._build = build
        self._look = look
        self._items: dict[str, StoredPoint] = {}
        """Those whose pictures are under way."""
        self._ready: list[Point] = []
        self._failed: dict[str, tuple[int, JobError]] = {}
        """The version and the error of items that cannot be embedded, by id."""
        self._total = 0
        self._done = 0

    @property
    def failed(self) -> list[tuple[str, JobError]]:
        """The items that the last pass left out."""
        return [(id, error) for id, (_, error) in self._failed.items()]

    def bring_up(self, number: int) -> None:
        """Pass `number` (from 0) over all items: what was not written meanwhile is the same in both after it.

        Raises:
            JobError: items cannot be embedded, and are not to be left out.
            JobStopped: between pages, or on the way of a picture.
        """
        self._vectors.copy_deletes(self._old, self._build, fence=self._job.fence)
        self._remove_gone()
        self._total, self._done = self._vectors.count(self._old), 0
        before, self._failed = self._failed, {}
        ready = self._pictures.load(self._wanted(before, number), self._prepare, batch=IMAGE_BATCH)
        for batch in ready:
            self._embed(batch)
            if len(self._ready) >= PAGE:
                self._write()
        self._write()
        for id, (version, error) in list(self._failed.items())[:MAX_FAILED]:
            if before.get(id, (None, None))[0] != version:
                self._job.log(f"item {id}: {error.code}: {error.message}")
        self._refuse_failures()
        for ids in slices(list(self._failed), PAGE):
            if made := self._vectors.get(self._build, ids):  # as they were before
                self._vectors.delete(self._build, made, fence=self._job.fence)

    def _remove_gone(self) -> None:
        """Remove what the old vectors have no more, nor even a mark of its delete."""
        cursor = None
        while True:
            self._job.raise_if_stopped()
            page = self._vectors.list_items(self._build, limit=PAGE, cursor=cursor)
            ids = [point.id for point in page.points]
            gone = set(ids) - self._vectors.get(self._old, ids).keys()
            if gone:
                self._vectors.delete(self._build, gone, fence=self._job.fence)
            if (cursor := page.next_cursor) is None:
                return

    def _wanted(self, failed: dict[str, tuple[int, JobError]], number: int) -> Iterator[Wanted[str]]:
        """The pictures of items that are not as they should be. `failed`: those that need no second try."""
        cursor = None
        while True:
            self._job.raise_if_stopped()
            self._look()
            self._collections.remove_later(self._build, in_seconds=BUILD_SECONDS)
            page = self._vectors.list_items(self._old, limit=PAGE, cursor=cursor)
            for item in self._to_embed(page.points):
                if item.image is None:
                    self._failed[item.id] = (item.version, _forgotten())
                elif failed.get(item.id, (None,))[0] == item.version:
                    self._failed[item.id] = failed[item.id]
                else:
                    self._items[item.id] = item
                    yield Wanted(item.id, PictureFields.model_validate(item.image), self._job)
            self._report(len(page.points), number)
            if (cursor := page.next_cursor) is None:
                return

    def _to_embed(self, items: Sequence[StoredPoint]) -> list[StoredPoint]:
        """Those that have to be embedded; of others, what has changed beside the picture is written with the rest."""
        made = self._vectors.get(self._build, [item.id for item in items])
        changed = [item for item in items if item.id not in made or not _same(made[item.id], item)]
        kept = {item.id for item in changed if item.id in made and _same_picture(made[item.id], item)}
        vectors = self._vectors.get(self._build, kept, with_vectors=True) if kept else {}
        for item in changed:
            if item.id in vectors and (vector := vectors[item.id].vector) is not None:
                known = item.fingerprint.file_hash if item.fingerprint and vectors[item.id].content_hash else None
                self._ready.append(self._point(item, vector, known))
        return [item for item in changed if item.id not in vectors]

    def _report(self, items: int, number: int) -> None:
        self._done += items
        if number == 0:
            part = FIRST_PASS * self._done / max(self._total, self._done, 1)
            self._job.progress(part, f"{self._done} of {max(self._total, self._done)} items")
        else:
            self._job.progress(FIRST_PASS, f"catching up with what was written meanwhile, pass {number}")

    def _prepare(self, id: str, data: bytes) -> _Prepared:
        image = self._pictures.decode(data, min_side=self._model.decode_hint)
        return self._model.preprocess(image), file_hash(data)

    def _embed(self, batch: list[tuple[str, _Prepared | JobError | JobStopped]]) -> None:
        good: list[tuple[StoredPoint, _Prepared]] = []
        for id, result in batch:
            item = self._items.pop(id)
            if isinstance(result, JobStopped):
                raise result
            if isinstance(result, JobError):
                self._failed[id] = (item.version, result)
            else:
                good.append((item, result))
        if not good:
            return
        vectors = self._model.encode_images(np.stack([pixels for _, (pixels, _) in good]))
        for (item, (_, picture_hash)), vector in zip(good, vectors, strict=True):
            # Another picture than the item was made from: whoever indexes it again is to look at it again.
            other = item.fingerprint is not None and item.fingerprint.file_hash != picture_hash
            self._ready.append(self._point(item, vector, None if other else picture_hash))

    def _point(self, item: StoredPoint, vector: NDArray[np.float32], picture_hash: str | None) -> Point:
        """The item as it is, but for its vector."""
        made_from = None
        if picture_hash is not None:
            made_from = content_hash(self._input.model, picture_hash, item.text, item.payload)
        return Point(
            id=item.id,
            vector=vector,
            payload=item.payload,
            text=item.text,
            content_hash=made_from,
            version=item.version,
            image=item.image,
            fingerprint=item.fingerprint,
        )

    def _write(self) -> None:
        if self._ready:
            self._job.raise_if_stopped()
            self._vectors.upsert(self._build, self._ready, fence=self._job.fence)
            self._ready = []

    def _refuse_failures(self) -> None:
        """Raises JobError where items failed, unless they are to be left out and no later try may help."""
        if not self._failed:
            return
        errors = [error for _, error in self._failed.values()]
        chosen = next((error for error in errors if error.retryable), errors[0])
        id = next(id for id, (_, error) in self._failed.items() if error is chosen)
        message = (
            f"{len(errors)} of {self._total} items could not be embedded anew, such as {id!r}: {chosen.message} "
            "The collection is as it was. Index or delete these items, or leave them out with drop_failed."
        )
        last = self._job.job.failures + 1 >= self._job.job.max_attempts
        if chosen.retryable and not (self._input.drop_failed and last):
            raise RetryableJobError(chosen.code, message)
        if not self._input.drop_failed:
            raise PermanentJobError(chosen.code, message)


def _same(made: StoredPoint, item: StoredPoint) -> bool:
    """Whether an item needs nothing more. The version alone does not say: a job that was tried again wrote it twice."""
    return (made.version, made.payload, made.text) == (item.version, item.payload, item.text) and (
        (made.image, made.fingerprint) == (item.image, item.fingerprint)
    )


def _same_picture(made: StoredPoint, item: StoredPoint) -> bool:
    """Whether the vector is of the picture that the item has now. What lies at a URL may be another by now."""
    if (made.image, made.fingerprint) != (item.image, item.fingerprint):
        return False
    return item.fingerprint is not None or (item.image is not None and "file" in item.image)


def _forgotten() -> PermanentJobError:
    message = "It is not known where the picture is. Index the item again, with its picture by URL or as a file."
    return PermanentJobError(ErrorCode.IMAGE_UNREACHABLE, message)
