"""The demo from its first process to its exit code."""

import json
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Any

from local.demo.catalogue import Picture, Queries, load_pictures, load_queries
from local.demo.claims import judge
from local.demo.client import Api
from local.demo.duplicates import find_duplicates
from local.demo.facts import Facts
from local.demo.indexing import chunks, index, items_of
from local.demo.killing import kill_run
from local.demo.library import COPIED, ROOT, TAGGED, write_copies, write_library
from local.demo.report import write_report
from local.demo.screen import Screen
from local.demo.searching import Searcher, redness
from local.demo.serving import picture_server
from local.demo.stack import DemoStack, pictures_of
from local.demo.tagging import tag_directory
from shared.errors import DarkroomError

INTERRUPTED = 130
JOB_PICTURES = 64
WEIGHTED = ("fruit", "red", -0.6)
FILTERED = ("red", {"category": "food-drink"})
KILL_JOB_PICTURES = 16
"""Small jobs: many of them have ended, run and wait when the worker dies."""


def run_demo(*, as_json: bool = False, keep: bool = False, report: Path = Path("demo-report.html")) -> int:
    """Run it; answers the exit code: 0 when every claim held, 1 when not, 130 after Ctrl-C."""
    screen = Screen(on_stderr=as_json)
    facts = Facts()
    stack = DemoStack()
    # SIGINT as well: a shell starts what it puts into the background with that one ignored.
    previous = {number: signal.signal(number, _interrupt) for number in (signal.SIGTERM, signal.SIGINT)}
    wanted = True  # the stack's folder, should something unforeseen happen
    try:
        code = _run(facts, stack, screen, as_json=as_json, keep=keep, report=report)
        wanted = facts.home is not None
    except KeyboardInterrupt:
        screen.say("Interrupted: stopping what was started …")
        code, wanted = INTERRUPTED, keep
    finally:
        stack.stop()  # nothing to do unless it was interrupted, or something unforeseen happened
        if not wanted:
            stack.remove()
        for number, handler in previous.items():
            signal.signal(number, handler)
    return code


def _run(facts: Facts, stack: DemoStack, screen: Screen, *, as_json: bool, keep: bool, report: Path) -> int:
    begun = time.monotonic()
    try:
        _show(facts, stack, screen)
    except DarkroomError as error:
        facts.problem = str(error)
    with _stage(facts, "stop"), screen.bar("Stopping everything"):
        stack.stop()
    facts.pids, facts.left_running = stack.pids, stack.left_running()
    facts.claims = judge(facts)
    facts.home = stack.home.folder if keep or not facts.passed else None
    facts.total_seconds = time.monotonic() - begun
    if facts.index is not None:
        _report(facts, report)
    screen.verdict(facts)
    if as_json:
        print(json.dumps(as_dict(facts), indent=2))
    return 0 if facts.passed else 1


def _report(facts: Facts, path: Path) -> None:
    try:
        facts.report = write_report(facts, {picture.id: picture.path for picture in load_pictures()}, path)
    except OSError as error:
        facts.problem = facts.problem or f"The report could not be written to {path}: {error.strerror}."


def _show(facts: Facts, stack: DemoStack, screen: Screen) -> None:
    """All that needs the stack."""
    pictures, queries = load_pictures(), load_queries()
    with ExitStack() as open_things:
        base_url = open_things.enter_context(picture_server({picture.id: picture.path for picture in pictures}))
        with _stage(facts, "start"), screen.bar("Starting Postgres, Valkey, API, workers") as progress:
            stack.start()
            stack.wait_for_api(progress)
        stack.note_processes()
        api = open_things.enter_context(Api(stack.url))
        items = items_of(pictures, base_url)
        with _stage(facts, "index"), screen.bar(f"Indexing {len(pictures):,} pictures over HTTP") as progress:
            facts.index = index(api, stack.check, "catalogue", chunks(items, JOB_PICTURES), progress)
        _search(facts, Searcher(api, "catalogue"), pictures, queries, screen)
        _read_folders(facts, api, stack, pictures, screen)
        with _stage(facts, "kill"), screen.bar("Indexing again, with a SIGKILL in the middle") as progress:
            facts.kill = kill_run(api, stack, "catalogue-again", chunks(items, KILL_JOB_PICTURES), progress)
        screen.kill(facts.kill)


def _search(facts: Facts, searcher: Searcher, pictures: list[Picture], queries: Queries, screen: Screen) -> None:
    by_id = {picture.id: picture for picture in pictures}
    with _stage(facts, "search"), screen.bar("Searching by words and by picture") as progress:
        count = len(queries.texts) + len(queries.pictures)
        for text, expected in queries.texts.items():
            facts.searches.append(searcher.by_text(text, expected))
            progress(len(facts.searches), count)
        for id in queries.pictures:
            facts.searches.append(searcher.by_picture(by_id[id]))
            progress(len(facts.searches), count)
    screen.searches(facts.searches)
    with _stage(facts, "combine"), screen.bar("Searching with weights and filters"):
        facts.weighted = searcher.weighted(*WEIGHTED, lambda id: redness(by_id[id].path))
        facts.filtered = searcher.filtered(*FILTERED)
    screen.combined(facts.weighted, facts.filtered)


def _read_folders(facts: Facts, api: Api, stack: DemoStack, pictures: list[Picture], screen: Screen) -> None:
    folder = pictures_of(stack.home)
    ids, copies = write_library(pictures, folder / TAGGED), write_copies(pictures, folder / COPIED)
    with _stage(facts, "tag"), screen.bar("Tagging a directory, twice") as progress:
        facts.tags = tag_directory(api, stack.check, f"{ROOT}/{TAGGED}", ids, pictures, progress)
    screen.tags(facts.tags)
    with _stage(facts, "duplicates"), screen.bar("Looking for copies in a directory") as progress:
        facts.duplicates = find_duplicates(api, stack.check, f"{ROOT}/{COPIED}", copies, progress)
    screen.duplicates(facts.duplicates)


@contextmanager
def _stage(facts: Facts, name: str) -> Iterator[None]:
    begun = time.monotonic()
    try:
        yield
    finally:
        facts.stages[name] = time.monotonic() - begun


def as_dict(facts: Facts) -> dict[str, Any]:
    """For `--json`."""
    plain: dict[str, Any] = json.loads(json.dumps(asdict(facts), default=str))
    return {"passed": facts.passed, **plain}


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
