"""What a demo saw, as plain data: for the console, the report and `--json`."""

import os
import platform
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

HowAttemptEnded = Literal["succeeded", "failed", "canceled", "killed", "unfinished"]


@dataclass(frozen=True)
class Result:
    """One hit of a search."""

    id: str
    name: str
    score: float
    """Cosine, -1 to 1."""
    expected: bool


@dataclass(frozen=True)
class Search:
    """One search job and what came of it, best hit first."""

    by: Literal["text", "picture"]
    query: str
    """The words, or the id of the item whose own picture was sent."""
    results: list[Result]
    seconds: float
    """From sending the request to having the answer."""
    run_seconds: float | None
    """Of these, in a worker."""

    def expected_among_first(self, count: int) -> bool:
        return any(result.expected for result in self.results[:count])


@dataclass(frozen=True)
class WeightedSearch:
    """A search for one thing and against another, beside the plain search for the thing."""

    wanted: str
    unwanted: str
    weight: float
    """Of the unwanted text: below zero."""
    plain: list[Result]
    weighted: list[Result]
    red_before: float
    """Share of red among the painted pixels of the plain search's hits, 0 to 1."""
    red_after: float
    seconds: float


@dataclass(frozen=True)
class FilteredSearch:
    """A search within a filter, beside the same search of everything."""

    text: str
    filter: dict[str, str]
    results: list[Result]
    outside: list[str]
    """Ids of hits that do not pass the filter: there should be none."""
    same_order: bool
    """The hits are the first ones of the search of everything that pass the filter, in its order."""
    seconds: float


@dataclass(frozen=True)
class Tag:
    """A label that a picture was given."""

    tag: str
    score: float


@dataclass(frozen=True)
class TaggedPicture:
    """A picture of the tagged directory. `id`: of the catalogue."""

    id: str
    tags: list[Tag]


@dataclass(frozen=True)
class TagStatistic:
    """How many pictures have a tag, and how sure it is on average."""

    tag: str
    count: int
    mean_score: float


@dataclass(frozen=True)
class TagRun:
    """A directory of pictures, tagged by one job, and what the table then says."""

    directory: str
    labels: list[str]
    files: int
    tagged: int
    failed: list[str]
    """Files that could not be tagged, with the reason."""
    seconds: float
    again_unchanged: int
    """Files that the same job, submitted once more, found unchanged."""
    again_seconds: float
    total: int
    """Pictures in the table, as `GET /v1/tags/statistics` counts them; the next two as well."""
    statistics: list[TagStatistic]
    """Of each tag, whichever place it has."""
    months: dict[str, int]
    """Pictures by month of their EXIF date."""
    counts: dict[str, int]
    """Pictures by their best tag, counted by the demo."""
    samples: list[TaggedPicture]
    judged: int
    """Pictures whose catalogued keywords name exactly one of the labels."""
    right: int
    """Of these, those whose best tag is that label."""


@dataclass(frozen=True)
class DuplicateGroup:
    """Pictures that are copies of each other: their file names, with that of the one to keep."""

    kind: str
    keeper: str
    members: list[str]


@dataclass(frozen=True)
class DuplicateRun:
    """A directory with copies in it that the demo made itself, and what was found."""

    directory: str
    pictures: int
    planted: dict[str, int]
    """Copies made, by kind."""
    found: dict[str, int]
    """Of these, those in one group of their kind with their original."""
    mixed: list[str]
    """Planted copies that were reported as another kind."""
    groups: list[DuplicateGroup]
    seconds: float


@dataclass(frozen=True)
class IndexRun:
    """A catalogue on its way into a collection."""

    collection: str
    jobs: int
    pictures: int
    by_url: int
    """Pictures that the workers fetched over HTTP; the others came inline as base64."""
    indexed: int
    failed: list[str]
    """Ids of items that were not indexed, and why."""
    in_collection: int
    """As `GET /v1/collections/…` counts afterwards."""
    seconds: float


@dataclass(frozen=True)
class Attempt:
    """One attempt at one job; times in seconds since the run was submitted."""

    number: int
    started: float
    ended: float
    how: HowAttemptEnded


@dataclass(frozen=True)
class JobStory:
    """A job of the run in which the worker was killed."""

    id: str
    items: int
    status: str
    """At the very end; `missing` when the API no longer knows the job."""
    attempt: int
    indexed: int
    skipped: int
    """Written by the attempt that was killed, and found unchanged by the next one."""
    failed: int
    changed_after_end: bool
    """It was seen ended, and later seen different."""
    attempts: list[Attempt]


@dataclass(frozen=True)
class KillRun:
    """Indexing with a SIGKILL in the middle. Times in seconds since the run was submitted."""

    collection: str
    pictures: int
    role: str
    """The process that was killed, as `darkroom status` names it."""
    pid: int
    with_children: list[int]
    """Pids of its pool, killed with it."""
    killed_at: float
    ended_before: int
    """Jobs that had ended at the kill."""
    queued: int
    held: list[str]
    """Ids of jobs that the killed processes were working on."""
    back_at: float | None
    """When the supervisor's new worker was ready."""
    new_pid: int | None
    taken_over_at: float | None
    """When the first of the held jobs was running again."""
    seconds: float
    in_collection: int
    jobs: list[JobStory]

    @property
    def run_again(self) -> list[JobStory]:
        return [job for job in self.jobs if job.attempt > 1]


@dataclass(frozen=True)
class Claim:
    """Something that the demo says of Darkroom, and whether this run bears it out."""

    text: str
    held: bool
    detail: str


@dataclass(frozen=True)
class Machine:
    """Where the times were taken."""

    cores: int
    system: str
    python: str
    load: float | None
    """Processes that wanted a core as the demo began: the load average over a minute."""

    @property
    def is_busy(self) -> bool:
        """Others were at work on it already."""
        return self.load is not None and self.load >= self.cores

    @classmethod
    def here(cls) -> "Machine":
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        try:
            load = round(os.getloadavg()[0], 1)
        except OSError:
            load = None
        return cls(cores, f"{platform.system()} {platform.machine()}", platform.python_version(), load)


@dataclass
class Facts:
    """All of it, filled while the demo runs."""

    machine: Machine = field(default_factory=Machine.here)
    index: IndexRun | None = None
    searches: list[Search] = field(default_factory=list)
    weighted: WeightedSearch | None = None
    filtered: FilteredSearch | None = None
    tags: TagRun | None = None
    duplicates: DuplicateRun | None = None
    kill: KillRun | None = None
    stages: dict[str, float] = field(default_factory=dict)
    """Seconds of each stage, in order."""
    total_seconds: float = 0.0
    pids: dict[int, str] = field(default_factory=dict)
    """Every process that the demo's stack had, by pid: its role."""
    left_running: list[int] = field(default_factory=list)
    """Of these, the pids that still ran after the stop."""
    claims: list[Claim] = field(default_factory=list)
    problem: str | None = None
    """What ended the demo early."""
    report: Path | None = None
    home: Path | None = None
    """The stack's folder, when it was kept."""

    @property
    def passed(self) -> bool:
        return self.problem is None and bool(self.claims) and all(claim.held for claim in self.claims)
