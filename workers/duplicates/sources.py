"""Where compared pictures come from: the fingerprints that a collection keeps, or pictures that are read for it."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from shared.collections import CollectionRow
from shared.contracts.deduplicate import MAX_LISTED_FAILURES, DeduplicateInput
from shared.errors import JobError, JobStopped
from shared.images.fingerprinting import Sketch, fingerprints_of
from shared.roots import Directory
from shared.vectors.filter_nodes import Filter
from workers import directories
from workers.context import JobContext, JobHandle
from workers.directories import BadFile, LocalPicture
from workers.duplicates.pictures import Candidate
from workers.handlers.entries import IMAGE_BATCH
from workers.pictures import Wanted
from workers.runtimes.protocol import EmbeddingRuntime

PAGE = 1_000
"""Items of a collection that are read at once."""

Key = tuple[int, str]
"""(place in the order of the pictures, id)."""


@dataclass
class Gathered:
    """What there is to compare. `vectors[i]` belongs to `pictures[i]`; there are none unless a model was given."""

    pictures: list[Candidate] = field(default_factory=list)
    vectors: list[NDArray[np.float32]] = field(default_factory=list)
    without_fingerprint: int = 0
    unreadable: int = 0
    failures: list[tuple[str, JobError]] = field(default_factory=list)
    """Of those, the first MAX_LISTED_FAILURES in the order of the pictures."""


@dataclass(frozen=True)
class _Looked:
    sketch: Sketch
    pixels: NDArray[np.uint8] | None


def from_collection(
    collection: CollectionRow, filter: Filter | None, job: JobHandle, context: JobContext, share: float
) -> Gathered:
    """The fingerprints of the items that match, page by page. `share`: of the job's progress that this is."""
    vectors, gathered, cursor = context.services.vectors, Gathered(), None
    total = vectors.count(collection.ref, filter=filter)
    seen = 0
    while True:
        job.raise_if_stopped()
        page = vectors.list_items(collection.ref, filter=filter, limit=PAGE, cursor=cursor)
        for point in page.points:
            if point.fingerprint is None:
                gathered.without_fingerprint += 1
            else:
                gathered.pictures.append(Candidate.of(point.id, point.fingerprint))
        seen += len(page.points)
        job.progress(share * seen / max(seen, total, 1), f"{seen:,} of {max(seen, total):,} items read")
        if (cursor := page.next_cursor) is None:
            return gathered


class PictureReader:
    """Reads pictures and keeps their fingerprints, and their vectors where a model is given."""

    def __init__(self, job: JobHandle, context: JobContext, model: EmbeddingRuntime | None, share: float) -> None:
        """`share`: of the job's progress that this is."""
        self._job = job
        self._context = context
        self._model = model
        self._share = share
        self._total = 0
        self._done = 0
        self._failed: list[tuple[Key, JobError]] = []
        self._unreadable = 0

    def images(self, input: DeduplicateInput) -> Gathered:
        """The pictures of the request, as `images.0` and so on."""
        images = input.images or []
        self._total = len(images)
        return self._gather(Wanted((at, f"images.{at}"), image, self._job) for at, image in enumerate(images))

    def directory(self, directory: Directory, input: DeduplicateInput) -> Gathered:
        """The files of a directory, by their names from the root's on."""
        self._job.progress(0.0, "counting files")
        self._total = directories.count(
            directory,
            recursive=input.recursive,
            extensions=input.extensions,
            checkpoint=self._job.raise_if_stopped,
        )
        return self._gather(self._files(directory, input))

    def _files(self, directory: Directory, input: DeduplicateInput) -> Iterator[Wanted[Key]]:
        entries = directories.walk(directory, recursive=input.recursive, extensions=input.extensions)
        for at, entry in enumerate(entries):
            self._job.raise_if_stopped()
            if isinstance(entry, BadFile):
                self._fail((at, entry.source), entry.error)
            else:
                yield Wanted((at, entry.source), LocalPicture(directory, entry), self._job)

    def _gather(self, wanted: Iterable[Wanted[Key]]) -> Gathered:
        pictures, found = self._context.services.pictures, []
        batches = pictures.load(wanted, self._look, batch=IMAGE_BATCH, before_waiting=self._context.flush)
        for batch in batches:
            good = [(key, looked) for key, looked in batch if isinstance(looked, _Looked)]
            fingerprints = fingerprints_of([looked.sketch for _, looked in good])
            vectors = self._embed([looked for _, looked in good])
            for at, ((key, _), fingerprint) in enumerate(zip(good, fingerprints, strict=True)):
                found.append((key, Candidate.of(key[1], fingerprint), None if vectors is None else vectors[at]))
            for key, other in batch:
                if isinstance(other, JobStopped):
                    raise other
                if isinstance(other, JobError):
                    self._fail(key, other)
            self._done += len(good)
            self._report()
        found.sort(key=lambda one: one[0])
        self._failed.sort(key=lambda one: one[0])
        return Gathered(
            pictures=[picture for _, picture, _ in found],
            vectors=[vector for _, _, vector in found if vector is not None],
            unreadable=self._unreadable,
            failures=[(key[1], error) for key, error in self._failed[:MAX_LISTED_FAILURES]],
        )

    def _look(self, _: Key, data: bytes) -> _Looked:
        """In full, so that equal pixels are seen whatever format they come in."""
        pictures = self._context.services.pictures
        with pictures.decoded(data) as image:
            sketch = pictures.sketch(image, data)
            return _Looked(sketch, None if self._model is None else self._model.preprocess(image))

    def _embed(self, looked: list[_Looked]) -> NDArray[np.float32] | None:
        pixels = [one.pixels for one in looked if one.pixels is not None]
        return self._model.encode_images(np.stack(pixels)) if self._model is not None and pixels else None

    def _fail(self, key: Key, error: JobError) -> None:
        self._done += 1
        self._unreadable += 1
        self._failed.append((key, error))
        if len(self._failed) > 2 * MAX_LISTED_FAILURES:
            self._failed = sorted(self._failed, key=lambda one: one[0])[:MAX_LISTED_FAILURES]

    def _report(self) -> None:
        total = max(self._done, self._total, 1)
        self._job.progress(self._share * self._done / total, f"{self._done:,} of {total:,} pictures read")
