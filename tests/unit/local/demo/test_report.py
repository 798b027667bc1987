"""The report is one valid file that fetches nothing, whatever names are in it."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from local.demo.catalogue import load_pictures, load_queries
from local.demo.facts import DuplicateGroup, Facts, Result, TagStatistic
from local.demo.report import render, write_report
from tests.fakes.demo_facts import DUPLICATES, FILTERED, KILL, TAGS, TEXT, WEIGHTED, good_facts

VOID = {"meta", "img", "br"}
FETCHING = {"src", "href", "srcset", "poster", "data", "action", "background", "xlink:href"}
PICTURES = {picture.id: picture.path for picture in load_pictures()}


class _Page(HTMLParser):
    """Checks that elements nest and close, and gathers what they refer to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.references: list[str] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        self.references += [value or "" for name, value in attrs if name in FETCHING]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        self.references += [value or "" for name, value in attrs if name in FETCHING]

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def _page(facts: Facts) -> _Page:
    return _Page(render(facts, PICTURES))


def test_it_is_whole_and_nests() -> None:
    page = _page(good_facts())
    assert page.open == []
    assert [page.seen.count(tag) for tag in ("html", "head", "body", "style", "svg")] == [1] * 5


def test_it_fetches_nothing() -> None:
    html = render(good_facts(), PICTURES)
    page = _Page(html)
    assert page.references
    assert all(reference.startswith("data:image/webp;base64,") for reference in page.references)
    assert not re.search(r"https?://|url\(|@import|<script", html)


def test_every_picture_stands_in_it() -> None:
    # Two hits; a queried picture and its hit; three hits with weights and filters; a sample; a picture for two groups.
    assert _page(good_facts()).seen.count("img") == 4 + 3 + 1 + 2
    known = Result("tiger-face", "tiger face", 0.9, expected=True)
    unknown = Result("no-such-picture", "no such picture", 0.8, expected=False)
    facts = good_facts()
    facts.searches = [replace(TEXT, results=[known, unknown])]
    assert _page(facts).seen.count("img") == 1 + 6


def test_statistics_of_tags_stand_in_it() -> None:
    html = render(good_facts(), PICTURES)
    assert '<td>fruit</td><td class="number">480</td><td class="number">0.42</td>' in html
    assert '<td>2024-01</td><td class="number">500</td>' in html


@pytest.mark.parametrize("name", ['<script>alert("1")</script>', "a & b", "“quoted” 'so'"])
def test_names_are_escaped(name: str) -> None:
    facts = good_facts()
    facts.searches = [replace(TEXT, query=name, results=[Result(name, name, 0.1, expected=False)])]
    facts.kill = replace(KILL, role=name)
    facts.weighted = replace(WEIGHTED, wanted=name, unwanted=name)
    facts.filtered = replace(FILTERED, text=name, filter={name: name})
    statistics = [TagStatistic(name, 1, 0.5)]
    facts.tags = replace(TAGS, directory=name, counts={name: 1}, statistics=statistics, failed=[name])
    facts.duplicates = replace(DUPLICATES, directory=name, groups=[DuplicateGroup("exact", name, [name])])
    facts.problem = name
    page = _page(facts)
    assert page.open == []
    assert "script" not in page.seen
    assert name in page.text


def test_it_says_whether_all_held() -> None:
    facts = good_facts()
    assert "Every claim held" in render(facts, PICTURES)
    facts.claims[0] = replace(facts.claims[0], held=False)
    assert "1 claim did not hold" in render(facts, PICTURES)


def test_a_demo_that_broke_off_has_a_report_too() -> None:
    facts = good_facts()
    facts.searches, facts.kill, facts.problem = [], None, "The stack has ended by itself."
    facts.weighted = facts.filtered = facts.tags = facts.duplicates = None
    page = _page(facts)
    assert page.open == []
    assert facts.problem in page.text


def test_attempts_are_drawn() -> None:
    html = render(good_facts(), PICTURES)
    for css in ("first", "killed", "again"):
        assert html.count(f'<rect class="{css}"') == 1


def test_it_is_written_where_it_was_asked_for(tmp_path: Path) -> None:
    path = write_report(good_facts(), PICTURES, tmp_path / "new" / "report.html")
    assert path.read_text(encoding="utf-8").startswith("<!doctype html>")


def test_the_catalogue_answers_its_own_queries() -> None:
    queries = load_queries()
    assert len(PICTURES) >= 500
    assert (len(queries.texts), len(queries.pictures)) == (6, 3)
    assert set().union(*queries.texts.values(), queries.pictures) <= set(PICTURES)
    assert all(queries.texts.values())
