"""Indexing once more, into another collection, with a SIGKILL in the middle."""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import psutil

from local.children import Identity
from local.demo.client import ENDED, Api, Job
from local.demo.errors import DemoFailed
from local.demo.facts import Attempt, HowAttemptEnded, JobStory, KillRun
from local.demo.indexing import Progress, request_for, statuses
from local.demo.stack import DemoStack
from local.state import ProcessState

ROLE = "worker-cpu"
"""Serves the queue `index`, where jobs of up to 64 pictures go."""
PATIENCE_SECONDS = 120.0
POLL_SECONDS = 0.05
ENDED_BEFORE_KILL = 0.2
"""Share of the jobs: then the run is well under way, and most is still to come."""


@dataclass
class _Watch:
    """What was seen of the jobs, look by look."""

    api: Api
    collection: str
    expected: int
    begun: datetime
    latest: dict[str, Job] = field(default_factory=dict)
    first_end: dict[str, Job] = field(default_factory=dict)
    """Each job as it was when it was first seen ended."""

    def look(self) -> list[Job]:
        jobs = self.api.jobs({"run": self.collection})
        self.latest = {job["id"]: job for job in jobs}
        for job in jobs:
            if job["status"] in ENDED:
                self.first_end.setdefault(job["id"], job)
        return jobs

    @property
    def ended(self) -> int:
        return sum(job["status"] in ENDED for job in self.latest.values())

    @property
    def all_ended(self) -> bool:
        return self.ended >= self.expected

    def with_status(self, status: str) -> list[Job]:
        return [job for job in self.latest.values() if job["status"] == status]

    def seconds(self, moment: str) -> float:
        """From the submission to a time of the API."""
        return round((datetime.fromisoformat(moment) - self.begun).total_seconds(), 3)


@dataclass(frozen=True)
class _Kill:
    """The kill, and what was running when it came."""

    process: ProcessState
    children: list[int]
    at: float
    """`time.monotonic()`."""
    ended_before: int
    queued: int
    held: dict[str, Job]


def kill_run(
    api: Api, stack: DemoStack, collection: str, parts: list[list[dict[str, Any]]], progress: Progress
) -> KillRun:
    """Submit, kill the worker that is indexing, and follow every job to its end."""
    jobs = api.submit_batch([{"kind": "index", **request_for(collection, part)} for part in parts])
    accepted_at = min(datetime.fromisoformat(job["created_at"]) for job in jobs)
    begun = time.monotonic() - (datetime.now(UTC) - accepted_at).total_seconds()
    watch = _Watch(api, collection, len(parts), accepted_at)
    pause = _Pause(stack.check, lambda: progress(watch.ended, len(parts)), begun + PATIENCE_SECONDS, watch)
    kill = _kill_in_the_middle(stack, watch, pause)
    taken_over_at = back_at = new_pid = None
    while not (watch.all_ended and back_at):
        pause()
        watch.look()
        now = time.monotonic() - begun
        if taken_over_at is None and any(watch.latest[id]["attempt"] > job["attempt"] for id, job in kill.held.items()):
            taken_over_at = now
        process = stack.process(kill.process.role)
        if back_at is None and process.pid != kill.process.pid and process.state == "running":
            back_at, new_pid = now, process.pid
    pause()
    return KillRun(
        collection=collection,
        pictures=sum(map(len, parts)),
        role=kill.process.role,
        pid=kill.process.pid or 0,
        with_children=kill.children,
        killed_at=kill.at - begun,
        ended_before=kill.ended_before,
        queued=kill.queued,
        held=sorted(kill.held),
        back_at=back_at,
        new_pid=new_pid,
        taken_over_at=taken_over_at,
        seconds=time.monotonic() - begun,
        in_collection=api.count(collection),
        jobs=_stories([job["id"] for job in jobs], watch, kill, kill.at - begun),
    )


@dataclass(frozen=True)
class _Pause:
    """Between two looks."""

    check: Callable[[], None]
    report: Callable[[], None]
    deadline: float
    watch: _Watch

    def __call__(self) -> None:
        self.report()
        self.check()
        if time.monotonic() > self.deadline:
            jobs = list(self.watch.latest.values())
            raise DemoFailed(f"The run with the kill did not end within {PATIENCE_SECONDS:.0f} s: {statuses(jobs)}.")
        time.sleep(POLL_SECONDS)


def _kill_in_the_middle(stack: DemoStack, watch: _Watch, pause: _Pause) -> _Kill:
    """Kill when some jobs have ended and some are running; again, should it have come just between two batches."""
    while True:
        watch.look()
        if watch.all_ended:
            raise DemoFailed("Every job had ended before the worker could be killed in the middle of one.")
        if watch.ended >= ENDED_BEFORE_KILL * watch.expected and watch.with_status("running"):
            kill = _kill(stack, watch)
            if kill and kill.held:
                return kill
        pause()


def _kill(stack: DemoStack, watch: _Watch) -> _Kill | None:
    """SIGKILL to the worker and its pool; None when it is not there to be killed."""
    stack.note_processes()
    process = stack.process(ROLE)
    if process.state != "running" or process.pid is None or not process.is_alive():
        return None
    children = [child.pid for child in psutil.Process(process.pid).children()]
    at = time.monotonic()
    _kill_group(process.identity)
    watch.look()
    running = {job["id"]: job for job in watch.with_status("running")}
    return _Kill(process, children, at, watch.ended, len(watch.with_status("queued")), running)


def _kill_group(identity: Identity | None) -> None:
    """The supervisor gives each process a group of its own, so this is the worker, its pool and nobody else."""
    if identity is not None and identity.process() is not None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(identity.pid, signal.SIGKILL)


def _stories(ids: Sequence[str], watch: _Watch, kill: _Kill, killed_at: float) -> list[JobStory]:
    """Every submitted job as it stands now, looked up once more after all have ended."""
    watch.look()
    return [_story(id, watch, kill, killed_at) for id in ids]


def _story(id: str, watch: _Watch, kill: _Kill, killed_at: float) -> JobStory:
    job = watch.latest.get(id)
    if job is None:
        return JobStory(id, 0, "missing", 0, 0, 0, 0, changed_after_end=True, attempts=[])
    output = job["output"] or {}
    first = watch.first_end.get(id, job)
    return JobStory(
        id=id,
        items=len(job["input"]["items"]),
        status=job["status"],
        attempt=job["attempt"],
        indexed=output.get("indexed", 0),
        skipped=output.get("skipped", 0),
        failed=len(output.get("failed", [])),
        changed_after_end=_end(first) != _end(job),
        attempts=_attempts(job, kill.held.get(id), watch, killed_at),
    )


def _end(job: Job) -> tuple[Any, ...]:
    return job["status"], job["attempt"], job["completed_at"], job["output"]


def _attempts(job: Job, held: Job | None, watch: _Watch, killed_at: float) -> list[Attempt]:
    attempts = []
    if held is not None:
        attempts.append(Attempt(held["attempt"], watch.seconds(held["started_at"]), killed_at, "killed"))
    if job["started_at"] and job["completed_at"]:
        how: HowAttemptEnded = job["status"] if job["status"] in ENDED else "unfinished"
        last = Attempt(job["attempt"], watch.seconds(job["started_at"]), watch.seconds(job["completed_at"]), how)
        attempts.append(last)
    return attempts
