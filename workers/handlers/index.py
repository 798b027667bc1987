"""`index`: pictures into collections. The items of all jobs of a batch go through one pipeline."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from shared.collections import CollectionRow
from shared.contracts.index import FailedItem, IndexInput, IndexItem, IndexOutput
from shared.errors import ErrorCode, JobError, JobStopped, PermanentJobError, PostponedJobError
from shared.faults import fault_point
from shared.images.hashing import file_hash
from shared.model_registry import ModelSpec
from shared.vectors.points import check_point
from shared.vectors.protocol import Point
from workers.context import JobContext, JobHandle
from workers.handlers.entries import IMAGE_BATCH, nothing_worked
from workers.pictures import Wanted
from workers.runtimes.protocol import EmbeddingRuntime
from workers.services import model_mismatch

WRITE_BATCH = 256
"""Points written to the vector store at once."""

Slot = tuple[int, int]
"""(job, item within the job)."""


@dataclass(frozen=True)
class _Prepared:
    pixels: NDArray[np.uint8]
    content_hash: str


@dataclass(frozen=True)
class _Unchanged:
    content_hash: str


@dataclass
class _Run:
    """One job on its way through the pipeline."""

    input: IndexInput
    job: JobHandle
    collection: CollectionRow
    known: dict[str, str]
    """Content hashes of the items that the collection has, by item id."""
    files: dict[str, str]
    """SHA-256 of the stored pictures, by file id."""
    points: list[Point] = field(default_factory=list)
    unchanged: dict[str, str] = field(default_factory=dict)
    failed: list[tuple[str, JobError]] = field(default_factory=list)
    indexed: int = 0
    skipped: int = 0
    stop: JobStopped | JobError | None = None
    """What ended the job as a whole, if anything did."""
    overtaken: bool = False
    """An item that was to be skipped has been changed meanwhile: the job has to look again."""

    def content_hash(self, item: IndexItem, picture_hash: str) -> str:
        """Of all that a point is made from: when it is the same, so is the point."""
        made_from = [self.collection.model, picture_hash, item.text, item.payload]
        return hashlib.sha256(orjson.dumps(made_from, option=orjson.OPT_SORT_KEYS)).hexdigest()

    @property
    def done(self) -> int:
        return self.indexed + self.skipped + len(self.points) + len(self.unchanged) + len(self.failed)

    @property
    def complete(self) -> bool:
        """Whether every item has come through."""
        return self.done == len(self.input.items)

    def report(self) -> None:
        self.job.progress(self.done / len(self.input.items), f"{self.done} of {len(self.input.items)} items")


def handle(inputs: list[IndexInput], context: JobContext) -> list[IndexOutput | JobError | JobStopped]:
    """Jobs may name different collections; those whose collections share a model share forward passes."""
    results: dict[int, IndexOutput | JobError | JobStopped] = {}
    by_model: dict[str, dict[int, _Run]] = defaultdict(dict)
    for position, input in enumerate(inputs):
        try:
            run = _open(input, context.jobs[position], context)
        except JobError as error:
            results[position] = error
        else:
            by_model[run.collection.model][position] = run
    for alias, runs in by_model.items():
        with context.services.embedders.lease(alias) as model:
            for position in _index(runs, model, context):
                results[position] = _result(runs[position])
                context.settle(position, results[position])
    return [results[position] for position in range(len(inputs))]


def _open(input: IndexInput, job: JobHandle, context: JobContext) -> _Run:
    """The collection, made now if this is the first index into it, and what it knows of these items already."""
    services = context.services
    collection = services.collections.find(job.tenant, input.collection)
    if collection is None:
        spec = services.embedders.registry.resolve(input.model, "index")
        dimension = _dimension(spec)
        collection = services.collections.ensure(job.tenant, input.collection, model=spec.alias, dimension=dimension)
        services.vectors.create_collection(collection.ref)
    if input.model is not None and input.model != collection.model:
        raise model_mismatch(collection, input.model)
    known = services.vectors.content_hashes(collection.ref, [item.id for item in input.items])
    stored = {item.image.file for item in input.items if item.image.file}
    files = services.files.sha256_of(job.tenant, stored) if stored and known else {}
    return _Run(input, job, collection, known, files)


def _dimension(spec: ModelSpec) -> int:
    if spec.dimension is None:
        message = f"The model {spec.alias!r} makes no vectors; choose one of the open_clip or timm family."
        raise PermanentJobError(ErrorCode.MODEL_MISMATCH, message)
    return spec.dimension


def _index(runs: dict[int, _Run], model: EmbeddingRuntime, context: JobContext) -> Iterator[int]:
    """Fetch and decode on threads, embed what is ready, write what is embedded. Yields each job as it is done."""
    pictures = context.services.pictures

    def prepare(slot: Slot, data: bytes) -> _Prepared | _Unchanged:
        run = runs[slot[0]]
        item = run.input.items[slot[1]]
        content_hash = run.content_hash(item, file_hash(data))
        if run.known.get(item.id) == content_hash:
            return _Unchanged(content_hash)
        pixels = model.preprocess(pictures.decode(data, min_side=model.decode_hint))
        return _Prepared(pixels, content_hash)

    ready = pictures.load(_wanted(runs), prepare, batch=IMAGE_BATCH, before_waiting=context.flush)
    open_jobs = set(runs)
    for batch in ready:
        good = [(slot, made) for slot, made in batch if isinstance(made, _Prepared)]
        vectors = model.encode_images(np.stack([made.pixels for _, made in good])) if good else ()
        for ((job, position), made), vector in zip(good, vectors, strict=True):
            _keep(runs[job], _point(runs[job], position, made.content_hash, vector))
        for (job, position), other in batch:
            _note(runs[job], position, other)
        for job in {slot[0] for slot, _ in batch}:
            runs[job].report()
            if runs[job].complete or len(runs[job].points) >= WRITE_BATCH:
                _write(runs[job], context)
            if runs[job].complete:
                open_jobs.remove(job)
                yield job
    for job in open_jobs:  # all of its items were known to be unchanged, or it was stopped
        _write(runs[job], context)
        yield job


def _wanted(runs: dict[int, _Run]) -> Iterable[Wanted[Slot]]:
    """Every item whose picture must be looked at; a stored one that is known to be unchanged is not even read."""
    return _interleaved({job: _wanted_of(job, run) for job, run in runs.items()})


def _wanted_of(job: int, run: _Run) -> Iterator[Wanted[Slot]]:
    for position, item in enumerate(run.input.items):
        picture_hash = run.files.get(item.image.file or "")
        if picture_hash and run.known.get(item.id) == run.content_hash(item, picture_hash):
            run.unchanged[item.id] = run.known[item.id]
        else:
            yield Wanted((job, position), item.image, run.job)


def _interleaved(sources: dict[int, Iterator[Wanted[Slot]]]) -> Iterator[Wanted[Slot]]:
    """One of each in turn, so that a small job of the batch does not wait for a large one."""
    while sources:
        for job in list(sources):
            one = next(sources[job], None)
            if one is None:
                del sources[job]
            else:
                yield one


def _note(run: _Run, position: int, result: _Prepared | _Unchanged | JobError | JobStopped) -> None:
    item = run.input.items[position]
    match result:
        case _Unchanged():
            run.unchanged[item.id] = result.content_hash
        case JobStopped():
            run.stop = run.stop or result
        case JobError():
            run.failed.append((item.id, result))
            run.job.log(f"item {item.id}: {result.code}: {result.message}")


def _keep(run: _Run, point: Point) -> None:
    """Add a point to those to be written; one that cannot be stored fails alone."""
    try:
        check_point(run.collection.ref, point)
    except JobError as error:
        run.failed.append((point.id, error))
        run.job.log(f"item {point.id}: {error.code}: {error.message}")
    else:
        run.points.append(point)


def _point(run: _Run, position: int, content_hash: str, vector: NDArray[np.float32]) -> Point:
    item = run.input.items[position]
    return Point(
        id=item.id,
        vector=vector,
        payload=dict(item.payload),
        text=item.text,
        content_hash=content_hash,
        version=run.job.version,
    )


def _write(run: _Run, context: JobContext) -> None:
    """Write what is ready, as long as this attempt owns its job."""
    if run.stop or not (run.points or run.unchanged):
        return
    vectors, ref, fence = context.services.vectors, run.collection.ref, run.job.fence
    try:
        run.job.raise_if_stopped()
        fault_point("worker.before_effect")
        if run.points:
            vectors.upsert(ref, run.points, fence=fence)
        if run.unchanged:
            confirmed = vectors.touch(ref, run.unchanged, version=run.job.version, fence=fence)
            run.overtaken = run.overtaken or len(confirmed) < len(run.unchanged)
        fault_point("worker.after_effect")
    except JobStopped as stop:
        run.stop = stop
        return
    except JobError as error:
        if error.code is ErrorCode.COLLECTION_UNKNOWN:  # deleted meanwhile: nothing of this job is left
            run.stop = error
            return
        run.failed += [(point.id, error) for point in run.points]
    else:
        run.indexed += len(run.points)
        run.skipped += len(run.unchanged)
    run.points, run.unchanged = [], {}


def _result(run: _Run) -> IndexOutput | JobError | JobStopped:
    if run.stop:
        return run.stop
    if run.overtaken:
        message = "Items of this job were changed by another one while it ran; it looks at them again."
        return PostponedJobError(ErrorCode.INTERNAL, message)
    if len(run.failed) == len(run.input.items):
        return nothing_worked([error for _, error in run.failed])
    failed: list[Any] = [FailedItem(id=id, code=error.code, message=error.message) for id, error in run.failed]
    return IndexOutput(indexed=run.indexed, skipped=run.skipped, failed=failed)
