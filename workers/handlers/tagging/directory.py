"""Tagging all files of a directory in one job: in bounded memory, and without doing anything twice.

A file that was tagged by the same recipe is skipped when its size and time are as they were, without reading it, or
when its bytes are. So a job that comes again after a crash goes on where it was.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice

from shared.contracts.tag import MAX_LISTED_FAILURES, TaggedPicture, TagInput, TagOutput
from shared.errors import ErrorCode, JobError, JobStopped, LeaseLost, PostponedJobError
from shared.faults import fault_point
from shared.images.hashing import file_hash
from shared.roots import Directory
from shared.tagging import KnownFile, SameFile, TaggedFile, Tagging
from workers import directories
from workers.context import JobContext, JobHandle, Result
from workers.directories import BadFile, FoundFile, LocalPicture
from workers.embedding import CachedModel
from workers.handlers.entries import IMAGE_BATCH, nothing_worked
from workers.handlers.tagging.pictures import failure
from workers.handlers.tagging.recipes import Prepared, Recipe, Tags, embed, prepare
from workers.pictures import Wanted
from workers.runtimes.protocol import EmbeddingRuntime
from workers.tag_store import TagStore

CHUNK = 256
"""Files that are looked up, and written, at once."""
WRITE_SECONDS = 2.0
"""Tags wait no longer to be written: a crash costs no more than that, or a chunk."""


@dataclass(frozen=True)
class _Task:
    """A file to read. `file_hash`: of its bytes when it was tagged by the same recipe, if it was."""

    found: FoundFile
    file_hash: str | None


@dataclass(frozen=True)
class _Same:
    """A file whose bytes have not changed."""


@dataclass
class _Run:
    """The job on its way through the directory."""

    input: TagInput
    directory: Directory
    recipe: Recipe
    job: JobHandle
    store: TagStore
    total: int
    """Files, as they were counted first."""
    files: int = 0
    tagged: int = 0
    unchanged: int = 0
    failed: int = 0
    failures: list[TaggedPicture] = field(default_factory=list)
    errors: list[JobError] = field(default_factory=list)
    rows: list[TaggedFile] = field(default_factory=list)
    """Tagged, and to be written."""
    same: list[SameFile] = field(default_factory=list)
    """Unchanged, and to be confirmed."""
    written_at: float = field(default_factory=time.monotonic)
    overtaken: bool = False
    """A file that was to be skipped has been tagged otherwise meanwhile: the job has to look again."""

    @property
    def tagging(self) -> Tagging:
        return Tagging(self.job.tenant, self.job.version, self.job.fence)

    def report(self) -> None:
        done = self.tagged + self.unchanged + self.failed
        self.job.progress(done / max(done, self.total), f"{done:,} of {max(done, self.total):,} files")

    def fail(self, source: str, error: JobError) -> None:
        self.failed += 1
        if len(self.failures) < MAX_LISTED_FAILURES:
            self.failures.append(failure(source, error))
            self.errors.append(error)

    def tag(self, found: FoundFile, made: Prepared, tags: Tags) -> None:
        self.tagged += 1
        self.rows.append(TaggedFile(found.source, tags, made.taken_at, made.file_hash, found.size, found.mtime_ns))

    def skip(self, found: FoundFile, *, confirm: bool) -> None:
        self.unchanged += 1
        if confirm:
            self.same.append(SameFile(found.source, found.size, found.mtime_ns))

    def write(self, *, only_if_due: bool = False) -> None:
        """Write what is ready. Raises LeaseLost."""
        waiting = len(self.rows) + len(self.same)
        late = time.monotonic() - self.written_at > WRITE_SECONDS
        if not waiting or (only_if_due and waiting < CHUNK and not late):
            return
        fault_point("worker.before_effect")
        if self.rows:
            self.store.save(self.rows, self.tagging, model=self.recipe.model, recipe=self.recipe.hash)
        if self.same:
            confirmed = self.store.confirm(self.same, self.tagging, recipe=self.recipe.hash)
            self.overtaken = self.overtaken or len(confirmed) < len(self.same)
        fault_point("worker.after_effect")
        self.rows, self.same, self.written_at = [], [], time.monotonic()


def tag_directory(input: TagInput, job: JobHandle, context: JobContext, model: CachedModel) -> Result:
    """Raises JobStopped; what was tagged until then is written first."""
    assert input.directory is not None
    directory = context.services.roots.open(job.tenant, input.directory)
    recipe = Recipe.of(input, job, model, context)
    job.progress(0.0, "counting files")
    total = directories.count(
        directory, recursive=input.recursive, extensions=input.extensions, checkpoint=job.raise_if_stopped
    )
    run = _Run(input, directory, recipe, job, context.services.tags, total)
    try:
        _tag_files(run, context, model.model)
    except LeaseLost:
        raise
    except JobStopped:
        run.write()
        raise
    run.write()
    return _result(run)


def _tag_files(run: _Run, context: JobContext, model: EmbeddingRuntime) -> None:
    pictures = context.services.pictures

    def ready(task: _Task, data: bytes) -> Prepared | _Same:
        digest = file_hash(data)
        return _Same() if digest == task.file_hash else prepare(data, digest, pictures, model)

    for batch in pictures.load(_wanted(run), ready, batch=IMAGE_BATCH, before_waiting=context.flush):
        good = [(task.found, made) for task, made in batch if isinstance(made, Prepared)]
        if good:
            vectors = embed([made for _, made in good], model)
            for (found, made), tags in zip(good, run.recipe.tags(vectors), strict=True):
                run.tag(found, made, tags)
        for task, other in batch:
            match other:
                case _Same():
                    run.skip(task.found, confirm=True)
                case JobError():
                    run.fail(task.found.source, other)
                case JobStopped():
                    raise other
        run.write(only_if_due=True)
        run.report()


def _wanted(run: _Run) -> Iterator[Wanted[_Task]]:
    """The files that have to be read, chunk by chunk; what is known to be unchanged, or no good, is noted here."""
    entries = directories.walk(run.directory, recursive=run.input.recursive, extensions=run.input.extensions)
    while chunk := list(islice(entries, CHUNK)):
        run.job.raise_if_stopped()
        run.files += len(chunk)
        for bad in chunk:
            if isinstance(bad, BadFile):
                run.fail(bad.source, bad.error)
        found = [file for file in chunk if isinstance(file, FoundFile)]
        known = run.store.known(run.job.tenant, [file.source for file in found])
        tasks = [task for file in found if (task := _task(run, file, known.get(file.source)))]
        run.write(only_if_due=True)
        run.report()
        for task in tasks:
            yield Wanted(task, LocalPicture(run.directory, task.found), run.job)


def _task(run: _Run, file: FoundFile, known: KnownFile | None) -> _Task | None:
    """What is to be done about a file; None for nothing."""
    if known is None:
        return _Task(file, None)
    if known.version > run.job.version:  # a job that was submitted later has tagged it: its tags stand
        run.skip(file, confirm=False)
        return None
    if known.recipe != run.recipe.hash:
        return _Task(file, None)
    if (known.size, known.mtime_ns) == (file.size, file.mtime_ns):
        run.skip(file, confirm=known.version < run.job.version)
        return None
    return _Task(file, known.file_hash)


def _result(run: _Run) -> Result:
    if run.overtaken:
        message = "Files of this job were tagged otherwise by another one while it ran; it looks at them again."
        return PostponedJobError(ErrorCode.INTERNAL, message)
    if run.files and run.failed == run.files:
        return nothing_worked(run.errors, total=run.failed)
    return TagOutput.model_construct(
        images=run.failures,
        directory=run.directory.source,
        files=run.files,
        tagged=run.tagged,
        unchanged=run.unchanged,
        failed=run.failed,
        message=_message(run),
        model=run.recipe.model,
    )


def _message(run: _Run) -> str:
    if not run.files:
        endings = ", ".join(run.input.extensions)
        return f"There are no pictures in {run.directory.source} (files that end in {endings})."
    parts = [f"{run.tagged:,} of {run.files:,} files tagged", f"{run.unchanged:,} unchanged", f"{run.failed:,} failed"]
    return ", ".join(parts) + "."
