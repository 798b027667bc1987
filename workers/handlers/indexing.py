"""One index job on its way: what is known of its items, what has been made of them, and what comes of it."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from shared.collections import CollectionRow
from shared.contracts.index import DuplicateItem, FailedItem, IndexInput, IndexItem, IndexOutput
from shared.errors import ErrorCode, JobError, JobStopped, PermanentJobError, PostponedJobError
from shared.faults import fault_point
from shared.images.fingerprint import Fingerprint
from shared.vectors.payload_schema import check_payload
from shared.vectors.points import check_point
from shared.vectors.protocol import Point, Vector
from workers.context import JobContext, JobHandle
from workers.duplicates.at_entry import EntryCheck
from workers.handlers.entries import content_hash, nothing_worked, slices

WRITE_BATCH = 256
"""Points written to the vector store at once."""


@dataclass
class IndexRun:
    """One job, from its collection to its output."""

    input: IndexInput
    job: JobHandle
    collection: CollectionRow
    known: dict[str, str]
    """Content hashes of the items that the collection has, by item id."""
    files: dict[str, str]
    """SHA-256 of the stored pictures, by file id."""
    copies: EntryCheck | None
    """None when duplicates are allowed."""
    points: list[Point] = field(default_factory=list)
    unchanged: dict[str, str] = field(default_factory=dict)
    """Items to be confirmed, with their content hashes."""
    confirmed: set[str] = field(default_factory=set)
    failed: list[tuple[str, JobError]] = field(default_factory=list)
    duplicates: dict[str, str] = field(default_factory=dict)
    """The item that each copy is one of."""
    indexed: int = 0
    duplicates_skipped: int = 0
    stop: JobStopped | JobError | None = None
    """What ended the job as a whole, if anything did."""
    overtaken: bool = False
    """An item that was to be skipped has been changed meanwhile: the job has to look again."""

    def content_hash(self, item: IndexItem, picture_hash: str) -> str:
        """Of all that the item's point is made from."""
        return content_hash(self.collection.model, picture_hash, item.text, item.payload)

    def fault_of(self, item: IndexItem) -> JobError | None:
        """What is wrong with an item before its picture is looked at: its payload, by the collection's schema."""
        faults = check_payload(item.payload, self.collection.payload_schema or {})
        if not faults:
            return None
        return PermanentJobError(ErrorCode.INVALID_INPUT, f"{faults[0].path} {faults[0].message}.")

    @property
    def skips_copies(self) -> bool:
        """Copies are left out. Which they are shows when every picture has come, so nothing is written before."""
        return self.input.on_duplicate == "skip"

    @property
    def done(self) -> int:
        made = self.indexed + len(self.points) + self.duplicates_skipped
        return made + len(self.confirmed) + len(self.unchanged) + len(self.failed)

    @property
    def complete(self) -> bool:
        """Whether every item has come through."""
        return self.done == len(self.input.items)

    @property
    def due(self) -> bool:
        """Whether it is time to write."""
        return self.complete or (len(self.points) >= WRITE_BATCH and not self.skips_copies)

    def report(self) -> None:
        self.job.progress(self.done / len(self.input.items), f"{self.done} of {len(self.input.items)} items")

    def leave_out(self, fingerprints: dict[str, Fingerprint]) -> set[str]:
        """Take note of pictures that have come. Returns the items that need no vector: copies that are skipped."""
        if self.copies is None:
            return set()
        self.copies.add(fingerprints)
        if not self.skips_copies:
            return set()
        found = {id: original for id in fingerprints if (original := self.copies.stored_copy_of(id)) is not None}
        self._skip(found)
        return set(found)

    def keep(self, position: int, content_hash: str, vector: Vector, fingerprint: Fingerprint) -> None:
        """Add an item to those to be written; one that cannot be stored fails alone."""
        item = self.input.items[position]
        place = {"url": item.image.url, "file": item.image.file}
        point = Point(
            id=item.id,
            vector=vector,
            payload=dict(item.payload),
            text=item.text,
            content_hash=content_hash,
            version=self.job.version,
            image={kind: value for kind, value in place.items() if value is not None} or None,
            fingerprint=fingerprint,
        )
        try:
            check_point(self.collection.ref, point)
        except JobError as error:
            self.fail(point.id, error)
        else:
            self.points.append(point)

    def fail(self, id: str, error: JobError) -> None:
        self.failed.append((id, error))
        self.job.log(f"item {id}: {error.code}: {error.message}")

    def write(self, context: JobContext) -> None:
        """Write what is ready, as long as this attempt owns its job."""
        try:
            if self.stop is None and self.complete:
                self._find_copies()
            for points in slices(self.points, WRITE_BATCH):
                if self.stop is None:
                    self._store(points, context)
            if self.unchanged and self.stop is None:
                self._confirm(context)
        except JobStopped as stop:
            self.stop = stop
        self.points, self.unchanged = [], {}

    def _store(self, points: Sequence[Point], context: JobContext) -> None:
        self.job.raise_if_stopped()
        fault_point("worker.before_effect")
        files = {point.id: point.image["file"] for point in points if point.image and "file" in point.image}
        try:
            context.services.collections.keep_files(self.collection.id, files)
            context.services.vectors.upsert(self.collection.ref, points, fence=self.job.fence)
        except JobError as error:
            self._refuse(points, error)
        else:
            self.indexed += len(points)
        fault_point("worker.after_effect")

    def _refuse(self, points: Sequence[Point], error: JobError) -> None:
        # Deleted meanwhile: nothing of this job is left. Or embedded anew: all of it has to go into the new vectors.
        if error.code is ErrorCode.COLLECTION_UNKNOWN or isinstance(error, PostponedJobError):
            self.stop = error
        else:
            self.failed += [(point.id, error) for point in points]

    def _confirm(self, context: JobContext) -> None:
        """Give the items that are unchanged this job's version, or an earlier job that runs later would win."""
        self.job.raise_if_stopped()
        vectors, version, fence = context.services.vectors, self.job.version, self.job.fence
        try:
            touched = vectors.touch(self.collection.ref, self.unchanged, version=version, fence=fence)
        except JobError as error:
            self.stop = error
            return
        self.overtaken = self.overtaken or len(touched) < len(self.unchanged)
        self.confirmed |= self.unchanged.keys()

    def _find_copies(self) -> None:
        """Every item has come through: which of them are copies?"""
        if self.copies is None:
            return
        unchanged = self.confirmed | self.unchanged.keys()
        found = self.copies.copies(unchanged=unchanged, failed={id for id, _ in self.failed})
        if not self.skips_copies:
            self.duplicates = found
            return
        waiting = {point.id for point in self.points}
        self._skip({id: original for id, original in found.items() if id in waiting})
        self.points = [point for point in self.points if point.id not in self.duplicates]

    def _skip(self, copies: dict[str, str]) -> None:
        self.duplicates |= copies
        self.duplicates_skipped += len(copies)

    def result(self) -> IndexOutput | JobError | JobStopped:
        if self.stop:
            return self.stop
        if self.overtaken:
            message = "Items of this job were changed by another one while it ran; it looks at them again."
            return PostponedJobError(ErrorCode.INTERNAL, message)
        if len(self.failed) == len(self.input.items):
            return nothing_worked([error for _, error in self.failed])
        return IndexOutput(
            indexed=self.indexed,
            skipped=len(self.confirmed),
            failed=[FailedItem(id=id, code=error.code, message=error.message) for id, error in self.failed],
            duplicates=[
                DuplicateItem(id=item.id, of=self.duplicates[item.id])
                for item in self.input.items
                if item.id in self.duplicates
            ],
            duplicates_skipped=self.duplicates_skipped,
        )
