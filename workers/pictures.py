"""Pictures on their way to a model: fetched and prepared by threads, while the model works on those that are ready.

Pillow and sockets release the GIL, so this overlaps with the forward pass; one slow host stalls neither its batch nor
the model. At most a window of pictures is under way, so memory stays bounded however long the list is.
"""

import threading
import time
from collections.abc import Callable, Hashable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import islice
from typing import Any, Generic, Protocol, TypeVar

import structlog
from PIL.Image import Image

from shared.contracts.common import PictureFields
from shared.errors import ErrorCode, JobError, JobStopped, PermanentJobError, RetryableJobError
from shared.images.client import SafeClient
from shared.images.decode import DecodeLimits, decode
from shared.images.fetch import FetchPolicy, fetch
from shared.images.inline import decode_inline
from workers.context import JobHandle

log = structlog.get_logger(__name__)

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")

DECODERS = 4
"""Pictures decoded at once in one process: each may take 4 bytes a pixel, 160 MB at the limit of 40 MP."""


class FileReader(Protocol):
    """Reads the stored files of a tenant."""

    def read(self, tenant: str, file_id: str) -> bytes:
        """Raises PermanentJobError when the tenant has no such file."""


@dataclass(frozen=True)
class Wanted(Generic[K]):
    """A picture that a job asks for; `key` comes back with the result."""

    key: K
    picture: PictureFields
    job: JobHandle


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

    def read(self, picture: PictureFields, job: JobHandle) -> bytes:
        """The bytes of one picture. Raises JobError or JobStopped."""
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

    def decode(self, data: bytes, *, min_side: int | None = None) -> Image:
        """Upright RGB pixels; see `shared.images.decode`."""
        with self._decoding:
            return decode(data, self._limits, min_side=min_side)

    def load(
        self, wanted: Iterable[Wanted[K]], prepare: Callable[[K, bytes], T]
    ) -> Iterator[tuple[K, T | JobError | JobStopped]]:
        """Yield each picture as `prepare` made it from its bytes, in the order in which they get ready.

        Args:
            prepare: called with the key and the bytes on a thread; raises JobError for a picture that is no good.
        """
        todo = iter(wanted)
        running: dict[Future[T], K] = {}
        try:
            while True:
                for one in islice(todo, self._window - len(running)):
                    running[self._threads.submit(self._one, one, prepare)] = one.key
                if not running:
                    return
                ready, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in ready:
                    yield running.pop(future), _result(future)
        finally:
            for future in running:
                future.cancel()

    def _one(self, wanted: Wanted[K], prepare: Callable[[K, bytes], T]) -> T:
        wanted.job.raise_if_stopped()
        return prepare(wanted.key, self.read(wanted.picture, wanted.job))


def _result(future: Future[Any]) -> Any:
    """What the thread made, or the error that this picture costs its job."""
    try:
        return future.result()
    except (JobError, JobStopped) as error:
        return error
    except MemoryError:
        return RetryableJobError(ErrorCode.OUT_OF_MEMORY, "There was no memory left to decode a picture; try again.")
    except Exception as error:
        log.exception("picture_failed")
        return PermanentJobError(ErrorCode.IMAGE_CORRUPT, f"The picture could not be read ({type(error).__name__}).")


def in_batches(
    ready: Iterable[tuple[K, T]], size: int, *, patience_seconds: float = 0.05
) -> Iterator[list[tuple[K, T]]]:
    """Gather what is ready into batches of up to `size`, giving up on a full one after `patience_seconds`."""
    batch: list[tuple[K, T]] = []
    since = time.monotonic()
    for one in ready:
        if not batch:
            since = time.monotonic()
        batch.append(one)
        if len(batch) >= size or time.monotonic() - since > patience_seconds:
            yield batch
            batch = []
    if batch:
        yield batch
