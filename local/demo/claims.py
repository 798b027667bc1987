"""What the demo says of Darkroom, judged by what this run saw. The exit code is decided here and nowhere else."""

from local.demo.facts import (
    Claim,
    DuplicateRun,
    Facts,
    FilteredSearch,
    IndexRun,
    KillRun,
    Search,
    TagRun,
    WeightedSearch,
)

LEAST_PICTURES = 500
AMONG_FIRST = 5
"""A text search is right when a picture whose name or keywords answer it is among so many first hits."""
PICTURE_SCORE = 0.999
"""Least cosine of a picture to itself; it is decoded and embedded anew for the search."""
LEFT_OVER = 0.75
"""Of what a negative weight is against, the hits may still show so much."""


def judge(facts: Facts) -> list[Claim]:
    """Every claim, in the order of the demo. A part that never ran bears out nothing."""
    texts = [search for search in facts.searches if search.by == "text"]
    pictures = [search for search in facts.searches if search.by == "picture"]
    return [
        _indexed(facts.index),
        _texts_found(texts),
        _pictures_found(pictures),
        _weighted(facts.weighted),
        _filtered(facts.filtered),
        *_tagged(facts.tags),
        *_duplicates(facts.duplicates),
        *_killed(facts.kill),
        _stopped(facts),
    ]


def _indexed(run: IndexRun | None) -> Claim:
    text = f"The whole catalogue, {LEAST_PICTURES} pictures or more, was indexed through the public API"
    if run is None:
        return _not_reached(text)
    complete = run.indexed == run.pictures == run.in_collection and not run.failed
    detail = f"{run.in_collection:,} of {run.pictures:,} pictures by {run.jobs} jobs, {len(run.failed)} failed"
    return Claim(text, complete and run.pictures >= LEAST_PICTURES, _with(detail, run.failed))


def _texts_found(searches: list[Search]) -> Claim:
    text = f"Every text search finds an expected picture among the first {AMONG_FIRST}"
    missed = [search.query for search in searches if not search.expected_among_first(AMONG_FIRST)]
    return _all_of(text, len(searches), missed)


def _pictures_found(searches: list[Search]) -> Claim:
    text = "Every search by an item's own picture finds that item first"
    missed = [search.query for search in searches if not _is_itself_first(search)]
    return _all_of(text, len(searches), missed)


def _is_itself_first(search: Search) -> bool:
    return search.expected_among_first(1) and search.results[0].score >= PICTURE_SCORE


def _weighted(search: WeightedSearch | None) -> Claim:
    text = "A weighted query takes away what it has a negative weight for"
    if search is None:
        return _not_reached(text)
    detail = f"red in the hits for “{search.wanted}”: {search.red_before:.0%}, less “{search.unwanted}”: "
    return Claim(text, search.red_after < LEFT_OVER * search.red_before, f"{detail}{search.red_after:.0%}")


def _filtered(search: FilteredSearch | None) -> Claim:
    text = "A filtered search finds the best of what passes its filter, and nothing else"
    if search is None:
        return _not_reached(text)
    detail = f"{len(search.results)} hits, {len(search.outside)} outside the filter"
    order = "" if search.same_order else ", not in the order of the search of everything"
    return Claim(text, bool(search.results) and not search.outside and search.same_order, detail + order)


def _tagged(run: TagRun | None) -> list[Claim]:
    all_of = f"A directory of {LEAST_PICTURES} pictures or more is tagged by one job; what is no picture fails alone"
    again = "The same job once more tags nothing twice"
    if run is None:
        return [_not_reached(text) for text in (all_of, again)]
    detail = f"{run.tagged} tagged, {run.total} in the table"
    complete = run.tagged == run.total == sum(run.counts.values()) == run.files - len(run.failed) >= LEAST_PICTURES
    return [
        Claim(all_of, complete and len(run.failed) == 1, _with(detail, run.failed)),
        Claim(again, run.again_unchanged == run.tagged, f"{run.again_unchanged} of {run.tagged} unchanged"),
    ]


def _duplicates(run: DuplicateRun | None) -> list[Claim]:
    found = "Every copy that the demo planted is found: of files, of pixels, and smaller ones"
    apart = "No exact copy is reported as a look-alike, nor the other way round"
    if run is None:
        return [_not_reached(text) for text in (found, apart)]
    detail = ", ".join(f"{run.found[kind]} of {planted} {kind}" for kind, planted in run.planted.items())
    return [
        Claim(found, bool(run.planted) and run.found == run.planted, detail),
        Claim(apart, bool(run.groups) and not run.mixed, _with(f"{len(run.groups)} groups", run.mixed)),
    ]


def _killed(run: KillRun | None) -> list[Claim]:
    killed = "A worker was killed with SIGKILL while it was working on jobs, and was started again"
    once = "Every job still ended once, as succeeded, and stayed as it ended"
    again = "The jobs that died with the worker were run again"
    complete = "Every picture of that run is in its collection, once"
    if run is None:
        return [_not_reached(text) for text in (killed, once, again, complete)]
    return [_was_killed(killed, run), _ended_once(once, run), _ran_again(again, run), _is_complete(complete, run)]


def _was_killed(text: str, run: KillRun) -> Claim:
    detail = (
        f"{run.role} (pid {run.pid} and {len(run.with_children)} more) died holding {len(run.held)} jobs; "
        f"{run.ended_before} had ended, {run.queued} were waiting; new pid {run.new_pid}"
    )
    return Claim(text, bool(run.held) and run.new_pid not in (None, run.pid), detail)


def _ended_once(text: str, run: KillRun) -> Claim:
    wrong = [f"{job.id}: {job.status}" for job in run.jobs if job.status != "succeeded"]
    wrong += [f"{job.id}: changed after its end" for job in run.jobs if job.changed_after_end]
    ended = sum(job.status == "succeeded" for job in run.jobs)
    return Claim(text, bool(run.jobs) and not wrong, _with(f"{ended} of {len(run.jobs)} jobs", wrong))


def _ran_again(text: str, run: KillRun) -> Claim:
    again = {job.id for job in run.run_again}
    missing = sorted(set(run.held) - again)
    others = len(again - set(run.held))
    detail = f"{len(again) - others} of {len(run.held)} have a second attempt; {others} of the other jobs too"
    return Claim(text, bool(run.held) and not missing, _with(detail, missing))


def _is_complete(text: str, run: KillRun) -> Claim:
    wrong = [f"{job.id}: {job.failed} failed" for job in run.jobs if job.indexed + job.skipped != job.items]
    found = sum(job.skipped for job in run.jobs)
    detail = f"{run.in_collection:,} of {run.pictures:,}; {found} were there already when their job ran again"
    counted = run.in_collection == run.pictures == sum(job.items for job in run.jobs)
    return Claim(text, counted and not wrong, _with(detail, wrong))


def _stopped(facts: Facts) -> Claim:
    text = "Everything that the demo started has stopped"
    left = [f"pid {pid} ({facts.pids.get(pid, '?')})" for pid in facts.left_running]
    detail = f"{len(facts.pids) - len(left)} of {len(facts.pids)} processes ended"
    return Claim(text, bool(facts.pids) and not left, _with(detail, left))


def _all_of(text: str, count: int, missed: list[str]) -> Claim:
    if not count:
        return _not_reached(text)
    return Claim(text, not missed, _with(f"{count - len(missed)} of {count}", missed))


def _not_reached(text: str) -> Claim:
    return Claim(text, False, "the demo did not come so far")


def _with(detail: str, wrong: list[str]) -> str:
    """The detail, and the first of what is wrong."""
    more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
    return f"{detail}: {'; '.join(wrong[:3])}{more}" if wrong else detail
