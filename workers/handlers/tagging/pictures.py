"""Tagging the pictures of requests: those of all jobs of a batch share forward passes."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

from shared.contracts.common import EntryError
from shared.contracts.tag import Tag, TaggedPicture, TagInput, TagOutput
from shared.errors import JobError, JobStopped
from shared.faults import fault_point
from shared.tagging import TaggedFile, Tagging
from workers.context import JobContext, JobHandle, Result
from workers.embedding import CachedModel
from workers.handlers.entries import IMAGE_BATCH, nothing_worked
from workers.handlers.tagging.recipes import Prepared, Recipe, Tags, embed, prepare
from workers.pictures import Wanted
from workers.runtimes.protocol import EmbeddingRuntime, Vectors

Slot = tuple[int, int]
"""(job, picture within the job)."""


@dataclass(frozen=True)
class _Tagged:
    tags: Tags
    taken_at: datetime | None
    file_hash: str


Entry = _Tagged | JobError | JobStopped


@dataclass
class _Run:
    """One job on its way."""

    input: TagInput
    job: JobHandle
    recipe: Recipe
    entries: dict[int, Entry] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        return len(self.entries) == len(self.input.images or ())

    def source(self, index: int) -> str:
        return str((self.input.images or ())[index])

    def report(self) -> None:
        total = len(self.input.images or ())
        self.job.progress(len(self.entries) / total, f"{len(self.entries)} of {total}")


def tag_pictures(inputs: list[TagInput], context: JobContext, model: CachedModel) -> list[Result]:
    """All jobs use `model`. Each is settled as soon as its last picture is through."""
    results: dict[int, Result] = {}
    runs: dict[int, _Run] = {}
    for position, input in enumerate(inputs):
        job = context.jobs[position]
        try:
            runs[position] = _Run(input, job, Recipe.of(input, job, model, context))
        except (JobError, JobStopped) as error:
            results[position] = error
            context.settle(position, error)
    for position in _tag(runs, model.model, context):
        results[position] = _result(runs[position], context)
        context.settle(position, results[position])
    return [results[position] for position in range(len(inputs))]


def _tag(runs: dict[int, _Run], model: EmbeddingRuntime, context: JobContext) -> Iterator[int]:
    """Yields each job once all of its pictures have come."""
    pictures = context.services.pictures
    wanted = (
        Wanted((position, index), picture, run.job)
        for position, run in runs.items()
        for index, picture in enumerate(run.input.images or ())
    )

    def ready(_: Slot, data: bytes) -> Prepared:
        return prepare(data, None, pictures, model)

    for batch in pictures.load(wanted, ready, batch=IMAGE_BATCH, before_waiting=context.flush):
        good = [(slot, made) for slot, made in batch if isinstance(made, Prepared)]
        vectors = embed([made for _, made in good], model) if good else None
        for (position, index), error in batch:
            if not isinstance(error, Prepared):
                runs[position].entries[index] = error
        if vectors is not None:
            _score(runs, good, vectors)
        for position in dict.fromkeys(slot[0] for slot, _ in batch):
            runs[position].report()
            if runs[position].complete:
                yield position


def _score(runs: dict[int, _Run], pictures: list[tuple[Slot, Prepared]], vectors: Vectors) -> None:
    """Each job scores its own rows by its own labels."""
    rows: dict[int, list[int]] = defaultdict(list)
    for row, ((position, _), _) in enumerate(pictures):
        rows[position].append(row)
    for position, own in rows.items():
        for row, tags in zip(own, runs[position].recipe.tags(vectors[own]), strict=True):
            (_, index), made = pictures[row]
            runs[position].entries[index] = _Tagged(tags, made.taken_at, made.file_hash)


def _result(run: _Run, context: JobContext) -> Result:
    entries = [run.entries[index] for index in range(len(run.entries))]
    if stop := next((entry for entry in entries if isinstance(entry, JobStopped)), None):
        return stop
    errors = [entry for entry in entries if isinstance(entry, JobError)]
    if len(errors) == len(entries):
        return nothing_worked(errors)
    if run.input.save:
        try:
            _save(run, context)
        except (JobError, JobStopped) as error:
            return error
    return _output(run, entries, failed=len(errors))


def _save(run: _Run, context: JobContext) -> None:
    rows = [
        TaggedFile(run.source(index), entry.tags, entry.taken_at, entry.file_hash)
        for index, entry in run.entries.items()
        if isinstance(entry, _Tagged)
    ]
    run.job.raise_if_stopped()
    fault_point("worker.before_effect")
    tagging = Tagging(run.job.tenant, run.job.version, run.job.fence)
    context.services.tags.save(rows, tagging, model=run.recipe.model, recipe=run.recipe.hash)
    fault_point("worker.after_effect")


def _output(run: _Run, entries: list[Entry], *, failed: int) -> TagOutput:
    tagged = len(entries) - failed
    return TagOutput.model_construct(
        images=[_picture(run.source(index), entry) for index, entry in enumerate(entries)],
        directory=None,
        files=len(entries),
        tagged=tagged,
        unchanged=0,
        failed=failed,
        message=f"{tagged} of {len(entries)} pictures tagged.",
        model=run.recipe.model,
    )


def _picture(source: str, entry: Entry) -> TaggedPicture:
    if isinstance(entry, _Tagged):
        tags = [Tag.model_construct(tag=tag, score=score) for tag, score in entry.tags]
        return TaggedPicture.model_construct(source=source, tags=tags, taken_at=entry.taken_at, error=None)
    assert isinstance(entry, JobError)
    return failure(source, entry)


def failure(source: str, error: JobError) -> TaggedPicture:
    """A picture without tags, and why."""
    said = EntryError(code=error.code, message=error.message)
    return TaggedPicture.model_construct(source=source, tags=[], taken_at=None, error=said)
