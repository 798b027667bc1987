"""Pictures on their way to a model: fetched and prepared by threads, while the model works on those that are ready.

Pillow and sockets release the GIL, so this overlaps with the forward pass; one slow host stalls neither its batch nor
the model. At most a window of pictures is under way, so memory stays bounded however long the list is.
"""

import threading
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from queue import Empty, SimpleQueue
from typing import Generic, Protocol, TypeVar

import psycopg
import structlog
from PIL.Image import Image

from shared.contracts.common import PictureFields
from shared.errors import (
    DependencyUnavailable,
    ErrorCode,
    JobError,
    JobStopped,
    PermanentJobError,
    RetryableJobError,
)
from shared.images.client import SafeClient
from shared.images.decode import DecodeLimits, decode
from shared.images.exif import taken_at
from shared.images.fetch import FetchPolicy, fetch
from shared.images.fingerprinting import Sketch, sketch_of
from shared.images.inline import decode_inline
from shared.storage import StorageError
from workers import directories
from workers.context import JobHandle
from workers.directories import LocalPicture

log = structlog.get_logger(__name__)

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")

PATIENCE_SECONDS = 0.05
"""A model waits this long for a fuller batch."""
DECODERS = 4
"""Pictures decoded at once in one process: each may take 4 bytes a pixel, 160 MB at the limit of 40 MP."""
SMALL_PIXELS = 2_100_000
"""Decoded pictures of up to so many pixels (Full HD, 6 MB) may be many."""


class FileReader(Protocol):
    """Reads the stored files of tenants."""

    def find(self, files: Collection[tuple[str, str]]) -> None:
        """Look up many files, (tenant, id) each, that are about to be read: `read` alone asks for one at a time."""

    def read(self, tenant: str, file_id: str) -> bytes:
        """Raises PermanentJobError when the tenant has no such file."""


@dataclass(frozen=True)
class Wanted(Generic[K]):
    """A picture that a job asks for; `key` comes back with the result."""

    key: K
    picture: PictureFields | LocalPicture
    job: JobHandle


@dataclass(frozen=True)
class _Away:
    """A part of Darkroom could not be reached from a picture's thread."""

    error: Exception


class PictureLoader:
    """Fetches pictures and prepares them, many at once. One a process; thread-safe."""

    def __init__(self, files: FileReader, policy: FetchPolicy, limits: DecodeLimits, *, threads: int) -> None:
        self._files = files
        self._policy = policy
        self._limits = limits
        self._client = SafeClient(policy.allow)
        self._window = 4 * threads
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="pictures")
        self._decoding = threading.BoundedSemaphore(DECODERS)

    def read(self, picture: PictureFields | LocalPicture, job: JobHandle) -> bytes:
        """The bytes of one picture. Raises JobError or JobStopped."""
        if isinstance(picture, LocalPicture):
            return directories.read(picture.directory, picture.found, max_bytes=self._policy.max_bytes)
        if picture.file is not None:
            return self._files.read(job.tenant, picture.file)
        if picture.base64 is not None:
            return decode_inline(picture.base64, self._policy.max_bytes).data
        url = picture.url or ""
        return fetch(
            url,
            self._policy,
            client=self._client,
            deadline=job.deadline,
            cancelled=lambda: job.stop_reason is not None,
        ).data

    def decode(self, data: bytes, *, min_side: int | None = None, whole_up_to: int = 0) -> Image:
        """Upright RGB pixels; see `shared.images.decode`."""
        with self.decoded(data, min_side=min_side, whole_up_to=whole_up_to) as image:
            return image

    @contextmanager
    def decoded(self, data: bytes, *, min_side: int | None = None, whole_up_to: int = 0) -> Iterator[Image]:
        """As `decode`, for whoever does more with the pixels than to make them small: a large picture counts as one
        that is being decoded until the block ends.
        """
        with ExitStack() as decoder:
            decoder.enter_context(self._decoding)
            image = decode(data, self._limits, min_side=min_side, whole_up_to=whole_up_to)
            if image.width * image.height <= SMALL_PIXELS:
                decoder.close()
            yield image

    def sketch(self, image: Image, data: bytes, *, sha256: str | None = None) -> Sketch:
        """What a picture's fingerprint is made from; see `shared.images.fingerprinting`."""
        return sketch_of(image, data, self._limits, sha256=sha256)

    def taken_at(self, data: bytes) -> datetime | None:
        """When the camera says that the picture was taken; see `shared.images.exif`."""
        return taken_at(data, self._limits)

    def load(
        self,
        wanted: Iterable[Wanted[K]],
        prepare: Callable[[K, bytes], T],
        *,
        batch: int,
        before_waiting: Callable[[], None] = lambda: None,
    ) -> Iterator[list[tuple[K, T | JobError | JobStopped]]]:
        """Yield pictures as `prepare` made them from their bytes, as they get ready, up to `batch` at a time.

        Args:
            prepare: called with the key and the bytes on a thread; raises JobError for a picture that is no good.
            before_waiting: called on the caller's thread before it waits for something slow.

        Raises:
            DependencyUnavailable, StorageError, psycopg.Error: storage or Postgres is away; no picture's fault.
        """
        todo = iter(wanted)
        done: SimpleQueue[tuple[K, T | JobError | JobStopped | _Away]] = SimpleQueue()
        left = threading.Event()
        gathered: list[tuple[K, T | JobError | JobStopped]] = []
        under_way = 0
        try:
            while True:
                if under_way <= self._window // 2:
                    under_way += self._start(list(islice(todo, self._window - under_way)), prepare, done, left)
                if not under_way:
                    break
                try:
                    key, result = done.get(timeout=PATIENCE_SECONDS)
                except Empty:
                    if gathered:
                        yield gathered
                        gathered = []
                    before_waiting()
                    key, result = done.get()
                if isinstance(result, _Away):
                    raise result.error
                gathered.append((key, result))
                under_way -= 1
                if len(gathered) >= batch:
                    yield gathered
                    gathered = []
            if gathered:
                yield gathered
        finally:
            left.set()

    def _start(
        self,
        wanted: list[Wanted[K]],
        prepare: Callable[[K, bytes], T],
        done: "SimpleQueue[tuple[K, T | JobError | JobStopped | _Away]]",
        left: threading.Event,
    ) -> int:
        """Hand pictures to the threads, which put what they made of them into `done`. Returns how many."""
        stored = {
            (one.job.tenant, one.picture.file)
            for one in wanted
            if isinstance(one.picture, PictureFields) and one.picture.file is not None
        }
        if stored:
            self._files.find(stored)

        def run(one: Wanted[K]) -> None:
            if not left.is_set():  # nobody asks for it any more
                done.put((one.key, _result(lambda: self._one(one, prepare))))

        for one in wanted:
            self._threads.submit(run, one)
        return len(wanted)

    def _one(self, wanted: Wanted[K], prepare: Callable[[K, bytes], T]) -> T:
        wanted.job.raise_if_stopped()
        try:
            data = self.read(wanted.picture, wanted.job)
        except JobStopped:  # the fetch knows that it was to stop, the job knows why
            wanted.job.raise_if_stopped()
            raise
        return prepare(wanted.key, data)


def _result(make: Callable[[], T]) -> "T | JobError | JobStopped | _Away":
    """What is made, or the error that this picture costs its job, or that none of this can go on now."""
    try:
        return make()
    except (JobError, JobStopped) as error:
        return error
    except MemoryError:
        return RetryableJobError(ErrorCode.OUT_OF_MEMORY, "There was no memory left to decode a picture; try again.")
    except (DependencyUnavailable, StorageError, psycopg.Error) as error:
        return _Away(error)
    except Exception:
        log.exception("picture_failed")
        return PermanentJobError(ErrorCode.INTERNAL, "Darkroom itself went wrong on this picture; tell its operator.")
