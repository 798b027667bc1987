"""`reembed`: a collection's vectors made anew by another model, beside the old ones, which then give way to them.

The new vectors lie under an id that the job's own id gives (`build_id`), so an attempt that dies leaves its work to the
next one. One pass after another compares the two, until nothing was written to the collection while a pass ran.
"""

import time

from shared.collections import CollectionRow
from shared.contracts.index import FailedItem
from shared.contracts.reembed import MAX_FAILED, ReembedInput, ReembedOutput
from shared.errors import ErrorCode, JobCanceled, JobError, JobStopped, PermanentJobError, RetryableJobError
from shared.faults import fault_point
from shared.rebuilding import BUILD_SECONDS
from shared.vectors.fencing import build_id, collection_gone
from shared.vectors.protocol import CollectionRef
from workers.collections import LockedCollection
from workers.context import JobContext, JobHandle
from workers.handlers.reembedding import VectorCopy
from workers.runtimes.protocol import EmbeddingRuntime
from workers.services import Services

MAX_PASSES = 10
"""After so many, the last one has the collection for itself."""
LOCKED_SECONDS = 10.0
"""Writers are not kept waiting for longer than a pass that took so long."""


def handle(inputs: list[ReembedInput], context: JobContext) -> list[ReembedOutput | JobError | JobStopped]:
    """Each job by itself: they never share a batch."""
    return [_reembed(input, job, context.services) for input, job in zip(inputs, context.jobs, strict=True)]


def _reembed(input: ReembedInput, job: JobHandle, services: Services) -> ReembedOutput:
    """Raises JobError, JobStopped. What no attempt can use any more is left to be removed at once."""
    spec = services.embedders.registry.get(input.model)
    if spec.dimension is None:
        raise PermanentJobError(ErrorCode.MODEL_MISMATCH, f"The model {spec.alias!r} makes no vectors.")
    build = CollectionRef(build_id(job.id), spec.dimension)
    with services.embedders.lease(spec.alias) as model:
        try:
            return _Attempt(input, job, services, model, build).run()
        except (JobCanceled, _Overtaken):
            services.collections.remove_later(build, in_seconds=0)
            raise
        except PermanentJobError as error:
            if error.code is ErrorCode.COLLECTION_UNKNOWN:
                services.collections.remove_later(build, in_seconds=0)
            raise


class _Overtaken(PermanentJobError):
    """The vectors that this job began from are not the collection's any more."""

    def __init__(self) -> None:
        message = "Another job has embedded this collection anew meanwhile. Submit this one again if need be."
        super().__init__(ErrorCode.INVALID_INPUT, message)


class _Attempt:
    """One attempt. `build`: where the new vectors go."""

    def __init__(
        self, input: ReembedInput, job: JobHandle, services: Services, model: EmbeddingRuntime, build: CollectionRef
    ) -> None:
        self._input = input
        self._job = job
        self._collections = services.collections
        self._vectors = services.vectors
        self._build = build
        self._collection = self._now()
        self._old = self._collection.ref
        self._copy = VectorCopy(input, job, services, model, old=self._old, build=build, look=self._current)

    def run(self) -> ReembedOutput:
        if self._old == self._build:  # an attempt before this one died after it had put them in place
            return self._output()
        # Noted before it is there; and where what a canceled attempt left is being removed, that is waited for.
        self._collections.remove_later(self._build, in_seconds=BUILD_SECONDS)
        self._vectors.create_collection(self._build, self._collection.payload_schema)
        for number in range(MAX_PASSES):
            before, began = self._current(), time.monotonic()
            self._copy.bring_up(number)
            seconds = time.monotonic() - began
            if number == 0:
                self._vectors.optimize(self._build)
            if self._written(before, self._current()):
                continue
            if output := self._replace_if(before):
                return output
        return self._last_pass(seconds)

    def _replace_if(self, before: CollectionRow) -> ReembedOutput | None:
        """Put the new vectors in place, unless the collection was written to since it was as `before`."""
        output = None
        fault_point("worker.before_effect")
        with self._collections.locked(self._collection.id, self._job.fence) as locked:
            self._check(locked.row)
            if not self._written(before, locked.row):
                output = self._replace(locked)
        fault_point("worker.after_effect")
        return output

    def _last_pass(self, seconds: float) -> ReembedOutput:
        """While nobody writes. `seconds`: how long the pass before it took."""
        if seconds > LOCKED_SECONDS:
            message = "The collection is written to faster than it can be compared. The job goes on where it was."
            raise RetryableJobError(ErrorCode.INTERNAL, message)
        with self._collections.locked(self._collection.id, self._job.fence) as locked:
            self._check(locked.row)
            self._copy.bring_up(MAX_PASSES)
            return self._replace(locked)

    def _replace(self, locked: LockedCollection) -> ReembedOutput:
        self._job.raise_if_stopped()
        output = self._output()
        locked.replace_vectors(self._build, self._input.model)
        return output

    def _output(self) -> ReembedOutput:
        failed = self._copy.failed
        return ReembedOutput(
            model=self._input.model,
            dimension=self._build.dimension,
            items=self._vectors.count(self._build),
            failed=[FailedItem(id=id, code=error.code, message=error.message) for id, error in failed[:MAX_FAILED]],
            failed_count=len(failed),
        )

    def _now(self) -> CollectionRow:
        row = self._collections.get(self._input.collection_id)
        if row is None:
            raise collection_gone()
        return row

    def _current(self) -> CollectionRow:
        row = self._now()
        self._check(row)
        return row

    def _check(self, row: CollectionRow) -> None:
        if row.ref != self._old:
            raise _Overtaken

    @staticmethod
    def _written(before: CollectionRow, after: CollectionRow) -> bool:
        return (before.version, before.touches) != (after.version, after.touches)
