"""Each claim of the demo fails when, and only when, what it says did not happen."""

from dataclasses import replace

import pytest

from local.demo.claims import AMONG_FIRST, judge
from local.demo.facts import DuplicateRun, Facts, FilteredSearch, IndexRun, KillRun, Result, Search, TagRun
from tests.fakes.demo_facts import (
    DUPLICATES,
    FILTERED,
    INDEX,
    KILL,
    PICTURE,
    TAGS,
    TEXT,
    WEIGHTED,
    good_facts,
    with_job,
)


def _failed(facts: Facts) -> list[str]:
    return [claim.text for claim in judge(facts) if not claim.held]


def test_a_good_run_passes() -> None:
    facts = good_facts()
    assert _failed(facts) == []
    assert facts.passed


def test_a_run_that_never_began_passes_nothing() -> None:
    facts = Facts()
    facts.claims = judge(facts)
    assert not any(claim.held for claim in facts.claims)
    assert not facts.passed


def test_a_problem_fails_even_when_every_claim_held() -> None:
    facts = good_facts()
    facts.problem = "the API went away"
    assert not facts.passed


@pytest.mark.parametrize(
    "index",
    [
        replace(INDEX, failed=["red-apple: not a picture"]),
        replace(INDEX, in_collection=511),
        replace(INDEX, indexed=511),
        replace(INDEX, pictures=64, indexed=64, in_collection=64),
    ],
    ids=["failed item", "missing in the collection", "not indexed", "too few"],
)
def test_indexing(index: IndexRun) -> None:
    facts = good_facts()
    facts.index = index
    assert len(_failed(facts)) == 1
    assert "catalogue" in _failed(facts)[0]


def _hit(*, expected: bool, score: float = 0.5) -> Result:
    return Result("id", "name", score, expected)


@pytest.mark.parametrize(
    "search",
    [
        replace(TEXT, results=[]),
        replace(TEXT, results=[*[_hit(expected=False)] * AMONG_FIRST, _hit(expected=True)]),
    ],
    ids=["nothing found", "found too late"],
)
def test_text_searches(search: Search) -> None:
    facts = good_facts()
    facts.searches = [search, PICTURE]
    assert [claim.detail for claim in judge(facts) if not claim.held] == ["0 of 1: cat"]


@pytest.mark.parametrize(
    "search",
    [
        replace(PICTURE, results=[]),
        replace(PICTURE, results=[_hit(expected=False, score=1.0), _hit(expected=True, score=1.0)]),
        replace(PICTURE, results=[_hit(expected=True, score=0.97)]),
    ],
    ids=["nothing found", "second", "unlike itself"],
)
def test_picture_searches(search: Search) -> None:
    facts = good_facts()
    facts.searches = [TEXT, search]
    assert [claim.detail for claim in judge(facts) if not claim.held] == ["0 of 1: cat-face"]


def test_a_weight_that_changes_little() -> None:
    facts = good_facts()
    facts.weighted = replace(WEIGHTED, red_after=0.6)
    assert [claim.detail for claim in judge(facts) if not claim.held] == [
        "red in the hits for “fruit”: 70%, less “red”: 60%"
    ]


@pytest.mark.parametrize(
    "search",
    [
        replace(FILTERED, results=[]),
        replace(FILTERED, outside=["red-heart"]),
        replace(FILTERED, same_order=False),
    ],
    ids=["nothing found", "outside", "other order"],
)
def test_the_filter(search: FilteredSearch) -> None:
    facts = good_facts()
    facts.filtered = search
    (failed,) = _failed(facts)
    assert "filter" in failed


@pytest.mark.parametrize(
    ("run", "words"),
    [
        (replace(TAGS, tagged=499), "fails alone"),
        (replace(TAGS, total=499), "fails alone"),
        (replace(TAGS, counts={"cat": 499}), "fails alone"),
        (replace(TAGS, failed=[]), "fails alone"),
        (replace(TAGS, again_unchanged=499), "nothing twice"),
    ],
    ids=["not tagged", "not in the table", "one without a tag", "a broken file passed", "tagged twice"],
)
def test_tags(run: TagRun, words: str) -> None:
    facts = good_facts()
    facts.tags = run
    assert any(words in failed for failed in _failed(facts))


@pytest.mark.parametrize(
    ("run", "words"),
    [
        (replace(DUPLICATES, found={"exact": 0, "perceptual": 1}), "Every copy"),
        (replace(DUPLICATES, mixed=["copy-of-cat-face.webp"]), "look-alike"),
    ],
    ids=["missed", "mixed"],
)
def test_duplicates(run: DuplicateRun, words: str) -> None:
    facts = good_facts()
    facts.duplicates = run
    (failed,) = _failed(facts)
    assert words in failed


@pytest.mark.parametrize(
    ("kill", "words"),
    [
        (replace(KILL, new_pid=None), "started again"),
        (replace(KILL, in_collection=33), "once"),
        (with_job(status="failed"), "ended once"),
        (with_job(status="missing"), "ended once"),
        (with_job(changed_after_end=True), "ended once"),
        (with_job(attempt=1), "run again"),
        (with_job(skipped=5), "in its collection"),
    ],
    ids=["not restarted", "item twice", "failed", "lost", "ended twice", "not run again", "item not written"],
)
def test_the_kill(kill: KillRun, words: str) -> None:
    facts = good_facts()
    facts.kill = kill
    (failed,) = _failed(facts)
    assert words in failed


def test_a_kill_that_hit_nobody_shows_nothing() -> None:
    facts = good_facts()
    facts.kill = replace(KILL, held=[])
    assert len(_failed(facts)) == 2


def test_left_processes_are_named() -> None:
    facts = good_facts()
    facts.left_running = [11]
    (claim,) = [claim for claim in judge(facts) if not claim.held]
    assert "pid 11 (api)" in claim.detail
