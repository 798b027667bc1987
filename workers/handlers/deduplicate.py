"""`deduplicate`: groups of exact copies, look-alikes and near vectors. A job runs alone."""

from collections.abc import Callable
from contextlib import nullcontext

import numpy as np

from shared.collections import CollectionRow
from shared.contracts.deduplicate import (
    DeduplicateInput,
    DeduplicateOutput,
    DuplicateGroup,
    DuplicateMember,
    FailedPicture,
)
from shared.errors import (
    ConfigurationError,
    ErrorCode,
    InvalidInput,
    JobError,
    JobStopped,
    PermanentJobError,
    PostponedJobError,
)
from shared.vectors.filter_nodes import Filter
from shared.vectors.filters import parse
from workers.context import JobContext, JobHandle
from workers.duplicates.grouping import Group, Grouping
from workers.duplicates.neighbours import VectorsInCollection, VectorsInMemory
from workers.duplicates.pictures import Candidate
from workers.duplicates.sources import Gathered, PictureReader, from_collection
from workers.handlers.entries import nothing_worked
from workers.services import named_collection

READING = 0.7
"""The part of a job's progress that reading pictures is; reading a collection's fingerprints is the rest of it."""
COMPARING = 0.1

Result = DeduplicateOutput | JobError | JobStopped


def handle(inputs: list[DeduplicateInput], context: JobContext) -> list[Result]:
    return [_one(input, job, context) for input, job in zip(inputs, context.jobs, strict=True)]


def _one(input: DeduplicateInput, job: JobHandle, context: JobContext) -> Result:
    try:
        if input.collection is not None:
            return _in_collection(input, input.collection, job, context)
        return _in_pictures(input, job, context)
    except (JobError, JobStopped) as error:
        return error


def _in_collection(input: DeduplicateInput, name: str, job: JobHandle, context: JobContext) -> Result:
    collection = named_collection(context.services.collections, job.tenant, name)
    filter = _filter_of(input, collection)
    semantic = "semantic" in input.method
    reading = 1 - READING if semantic else 1 - COMPARING
    gathered = from_collection(collection, filter, job, context, reading)
    neighbours = VectorsInCollection(
        context.services.vectors,
        collection.ref,
        filter,
        [picture.id for picture in gathered.pictures],
        input.threshold.semantic,
        _progress(job, reading + COMPARING, 1.0, "comparing vectors"),
    )
    grouping = Grouping(
        gathered.pictures,
        within=input.threshold.perceptual,
        neighbours=neighbours if semantic else None,
        checkpoint=_progress(job, reading, reading + COMPARING, "comparing hashes"),
    )
    groups = grouping.find(input.method)
    _check_unchanged(collection, context)
    return _output(gathered, groups, f"items in {name!r}")


def _check_unchanged(collection: CollectionRow, context: JobContext) -> None:
    """Raises JobError where items may have gone from under the comparison: it would look whole, and miss groups."""
    now = context.services.collections.get(collection.id)
    if now is None:
        message = f"The collection {collection.name!r} was deleted while it was compared."
        raise PermanentJobError(ErrorCode.COLLECTION_UNKNOWN, message)
    if now.ref != collection.ref:
        message = f"The collection {collection.name!r} was embedded anew while it was compared; it is compared again."
        raise PostponedJobError(ErrorCode.INTERNAL, message)


def _filter_of(input: DeduplicateInput, collection: CollectionRow) -> Filter | None:
    if input.filter is None:
        return None
    try:
        return parse(input.filter, schema=collection.payload_schema)
    except InvalidInput as error:
        fault = error.faults[0]
        raise PermanentJobError(ErrorCode.INVALID_INPUT, f"{fault.path}: {fault.message}") from error


def _in_pictures(input: DeduplicateInput, job: JobHandle, context: JobContext) -> Result:
    semantic = "semantic" in input.method
    with context.services.embedders.lease(_model(input, context)) if semantic else nullcontext() as model:
        reader = PictureReader(job, context, model, READING)
        if input.directory is None:
            gathered, where = reader.images(input), "pictures"
        else:
            directory = context.services.roots.open(job.tenant, input.directory)
            gathered = reader.directory(directory, input)
            where = f"pictures in {directory.source} (files that end in {', '.join(input.extensions)})"
    if gathered.unreadable and not gathered.pictures:
        return nothing_worked([error for _, error in gathered.failures], total=gathered.unreadable)
    neighbours = None
    if gathered.vectors:
        checkpoint = _progress(job, READING + COMPARING, 1.0, "comparing vectors")
        neighbours = VectorsInMemory(np.stack(gathered.vectors), input.threshold.semantic, checkpoint)
    grouping = Grouping(
        gathered.pictures,
        within=input.threshold.perceptual,
        neighbours=neighbours,
        checkpoint=_progress(job, READING, READING + COMPARING, "comparing hashes"),
    )
    return _output(gathered, grouping.find(input.method), where)


def _model(input: DeduplicateInput, context: JobContext) -> str:
    try:
        spec = context.services.embedders.registry.resolve(input.model, "deduplicate")
    except ConfigurationError as error:
        message = "This stack has no default model for deduplicate jobs; name one in `model`."
        raise PermanentJobError(ErrorCode.MODEL_UNKNOWN, message) from error
    if not spec.embeds:
        message = f"The model {spec.alias!r} makes no vectors; choose one of the open_clip or timm family."
        raise PermanentJobError(ErrorCode.MODEL_MISMATCH, message)
    return spec.alias


def _progress(job: JobHandle, start: float, end: float, message: str) -> Callable[[float], None]:
    """Reports a step that goes from `start` to `end` of the job, and lets the job be stopped in it."""

    def report(share: float) -> None:
        job.raise_if_stopped()
        job.progress(start + (end - start) * share, message)

    return report


def _output(gathered: Gathered, groups: list[Group], where: str) -> DeduplicateOutput:
    duplicates = sum(len(group.members) - 1 for group in groups)
    return DeduplicateOutput(
        groups=[_group(group, gathered.pictures) for group in groups],
        pictures=len(gathered.pictures),
        duplicates=duplicates,
        without_fingerprint=gathered.without_fingerprint,
        unreadable=gathered.unreadable,
        failed=[FailedPicture(id=id, code=error.code, message=error.message) for id, error in gathered.failures],
        message=_message(gathered, duplicates, len(groups), where),
    )


def _group(group: Group, pictures: list[Candidate]) -> DuplicateGroup:
    members = [
        DuplicateMember(
            id=picture.id,
            distance=distance,
            width=picture.width,
            height=picture.height,
            size=picture.size,
            taken_at=picture.taken_at,
        )
        for picture, distance in (
            (pictures[index], far) for index, far in zip(group.members, group.distances, strict=True)
        )
    ]
    return DuplicateGroup(kind=group.kind, keeper=members[0].id, members=members)


def _message(gathered: Gathered, duplicates: int, groups: int, where: str) -> str:
    parts = [f"{duplicates:,} of {len(gathered.pictures):,} {where} are duplicates, in {groups:,} groups."]
    if not gathered.pictures:
        parts = [f"There are no {where} to compare."]
    if gathered.unreadable:
        parts.append(f"{gathered.unreadable:,} could not be read.")
    if gathered.without_fingerprint:
        parts.append(
            f"{gathered.without_fingerprint:,} were indexed before fingerprints were kept and were not compared: "
            "index them again."
        )
    return " ".join(parts)
