"""`index`: pictures into collections. The items of all jobs of a batch go through one pipeline."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.contracts.index import IndexInput, IndexOutput
from shared.errors import ErrorCode, JobError, JobStopped, PermanentJobError
from shared.images.fingerprint import Fingerprint
from shared.images.fingerprinting import WHOLE_PIXELS, Sketch, fingerprints_of
from shared.images.hashing import file_hash
from shared.model_registry import ModelSpec
from workers.context import JobContext, JobHandle
from workers.duplicates.at_entry import EntryCheck
from workers.handlers.entries import IMAGE_BATCH
from workers.handlers.indexing import IndexRun
from workers.pictures import Wanted
from workers.runtimes.protocol import EmbeddingRuntime
from workers.services import model_mismatch

Slot = tuple[int, int]
"""(job, item within the job)."""


@dataclass(frozen=True)
class _Prepared:
    pixels: NDArray[np.uint8]
    content_hash: str
    sketch: Sketch


@dataclass(frozen=True)
class _Unchanged:
    content_hash: str


_Ready = tuple[Slot, _Prepared | _Unchanged | JobError | JobStopped]


def handle(inputs: list[IndexInput], context: JobContext) -> list[IndexOutput | JobError | JobStopped]:
    """Jobs may name different collections; those whose collections share a model share forward passes."""
    results: dict[int, IndexOutput | JobError | JobStopped] = {}
    by_model: dict[str, dict[int, IndexRun]] = defaultdict(dict)
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
                results[position] = runs[position].result()
                context.settle(position, results[position])
    return [results[position] for position in range(len(inputs))]


def _open(input: IndexInput, job: JobHandle, context: JobContext) -> IndexRun:
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
    ids = [item.id for item in input.items]
    known = services.vectors.content_hashes(collection.ref, ids)
    stored = {item.image.file for item in input.items if item.image.file}
    files = services.files.sha256_of(job.tenant, stored) if stored and known else {}
    copies = None if input.on_duplicate == "allow" else EntryCheck(services.vectors, collection.ref, ids)
    return IndexRun(input, job, collection, known, files, copies)


def _dimension(spec: ModelSpec) -> int:
    if spec.dimension is None:
        message = f"The model {spec.alias!r} makes no vectors; choose one of the open_clip or timm family."
        raise PermanentJobError(ErrorCode.MODEL_MISMATCH, message)
    return spec.dimension


def _index(runs: dict[int, IndexRun], model: EmbeddingRuntime, context: JobContext) -> Iterator[int]:
    """Fetch and decode on threads, embed what is ready, write what is embedded. Yields each job as it is done."""
    pictures = context.services.pictures

    def prepare(slot: Slot, data: bytes) -> _Prepared | _Unchanged:
        run = runs[slot[0]]
        item = run.input.items[slot[1]]
        picture_hash = file_hash(data)
        content_hash = run.content_hash(item, picture_hash)
        if run.known.get(item.id) == content_hash:
            return _Unchanged(content_hash)
        with pictures.decoded(data, min_side=model.decode_hint, whole_up_to=WHOLE_PIXELS) as image:
            return _Prepared(model.preprocess(image), content_hash, pictures.sketch(image, data, sha256=picture_hash))

    ready = pictures.load(_wanted(runs), prepare, batch=IMAGE_BATCH, before_waiting=context.flush)
    open_jobs = set(runs)
    for batch in ready:
        _embed(batch, runs, model)
        for (job, position), other in batch:
            _note(runs[job], position, other)
        for job in {slot[0] for slot, _ in batch}:
            runs[job].report()
            if runs[job].due:
                runs[job].write(context)
            if runs[job].complete:
                open_jobs.remove(job)
                yield job
    for job in open_jobs:  # all of its items were known to be unchanged, or it was stopped
        runs[job].write(context)
        yield job


def _embed(batch: list[_Ready], runs: dict[int, IndexRun], model: EmbeddingRuntime) -> None:
    """Make points of the pictures that are new, but for copies that a job does not want."""
    prepared = [(slot, made) for slot, made in batch if isinstance(made, _Prepared)]
    fingerprints = fingerprints_of([made.sketch for _, made in prepared])
    of_jobs: dict[int, dict[str, Fingerprint]] = defaultdict(dict)
    for ((job, position), _), fingerprint in zip(prepared, fingerprints, strict=True):
        of_jobs[job][runs[job].input.items[position].id] = fingerprint
    left_out = {job: runs[job].leave_out(found) for job, found in of_jobs.items()}
    good = [
        (runs[job], position, made, fingerprint)
        for ((job, position), made), fingerprint in zip(prepared, fingerprints, strict=True)
        if runs[job].input.items[position].id not in left_out[job]
    ]
    vectors = model.encode_images(np.stack([made.pixels for _, _, made, _ in good])) if good else ()
    for (run, position, made, fingerprint), vector in zip(good, vectors, strict=True):
        run.keep(position, made.content_hash, vector, fingerprint)


def _wanted(runs: dict[int, IndexRun]) -> Iterable[Wanted[Slot]]:
    """Every item whose picture must be looked at; a stored one that is known to be unchanged is not even read."""
    return _interleaved({job: _wanted_of(job, run) for job, run in runs.items()})


def _wanted_of(job: int, run: IndexRun) -> Iterator[Wanted[Slot]]:
    for position, item in enumerate(run.input.items):
        picture_hash = run.files.get(item.image.file or "")
        if error := run.fault_of(item):
            run.fail(item.id, error)
        elif picture_hash and run.known.get(item.id) == run.content_hash(item, picture_hash):
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


def _note(run: IndexRun, position: int, result: _Prepared | _Unchanged | JobError | JobStopped) -> None:
    item = run.input.items[position]
    match result:
        case _Unchanged():
            run.unchanged[item.id] = result.content_hash
        case JobStopped():
            run.stop = run.stop or result
        case JobError():
            run.fail(item.id, result)
