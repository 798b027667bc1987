"""Ringing for jobs that were just committed: as seldom as the way their kind is claimed allows."""

import math
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from shared.contracts.common import JobKind
from shared.faults import fault_point
from shared.jobs.doorbell import Doorbell
from shared.jobs.submission import NewJob


def ring_for(doorbell: Doorbell, kinds: Mapping[str, JobKind[Any, Any]], jobs: Sequence[NewJob]) -> None:
    """One ring a job for those that run alone; for those that share batches, one for as many as a worker takes."""
    if len(jobs) == 1:
        job = jobs[0]
        doorbell.ring(job.queue, job.id, merge=_shares(kinds, job))
    else:
        batches: Counter[tuple[str, str]] = Counter()
        for job in jobs:
            if _shares(kinds, job):
                batches[job.queue, job.kind] += 1
            else:
                doorbell.ring(job.queue, job.id, merge=False)
        for (queue, kind), count in batches.items():
            doorbell.ring(queue, times=math.ceil(count / kinds[kind].max_batch), merge=False)
    fault_point("api.after_ring")


def _shares(kinds: Mapping[str, JobKind[Any, Any]], job: NewJob) -> bool:
    return job.batch_key is not None and kinds[job.kind].max_batch > 1


def ring_again(doorbell: Doorbell, queue: str, job_id: uuid.UUID | None = None) -> None:
    """Ring for a job that went back to its queue, or for a queue that is open again."""
    doorbell.ring(queue, job_id, merge=False)
