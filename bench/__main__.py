"""`python -m bench`: measure, print a table, keep the numbers as JSON."""

import argparse
import json
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from bench import report
from bench.figure import Figure
from bench.figures.registry import FIGURES, Groups, Measure
from bench.lab import Lab
from bench.stack import Stack
from local.settings import REPOSITORY

RunStack = Callable[[Path], AbstractContextManager[Stack]]
RESULTS = REPOSITORY / "bench" / "results"


def main(argv: list[str] | None = None, groups: Groups = FIGURES, running: RunStack = Stack.running) -> int:
    """Exit code 1 when something could not be measured; a missed aim is a result and not an error."""
    options = _parse(argv, list(groups))
    if options.list:
        for name, (what, _) in groups.items():
            print(f"{name:<18}{what}")
        return 0
    console = Console(stderr=options.json == "-")
    about = report.machine()
    chosen = {name: groups[name][1] for name in options.only or groups}
    figures, failed = _measure(chosen, running, console, quick=options.quick)
    if figures:
        report.print_table(console, figures, about, quick=options.quick)
        _keep(report.as_json(figures, about, quick=options.quick), options.json, console)
    return 1 if failed else 0


def _measure(
    chosen: Mapping[str, Measure], running: RunStack, console: Console, *, quick: bool
) -> tuple[list[Figure], list[str]]:
    """The figures of these groups, and the names of those that could not be measured."""
    figures: list[Figure] = []
    failed: list[str] = []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with (
        tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as folder,
        Progress(*columns, console=console, transient=True) as progress,
    ):
        whole = progress.add_task("bench", total=len(chosen))
        for name, measure in chosen.items():
            # A stack for each: none meets the files, caches and write-ahead log that another left.
            own = Path(folder, name)
            own.mkdir()
            try:
                with running(own) as stack:
                    found = measure(Lab(stack, progress, quick))
                figures += found
                for figure in found:
                    progress.print(f"{figure.name}: {report.shown(figure.samples)}", highlight=False)
            except Exception:  # noqa: BLE001 - one group that cannot be measured does not cost the others
                failed.append(name)
                progress.print(f"[red]{name} could not be measured[/red]")
                console.print(traceback.format_exc(), markup=False, highlight=False)
            progress.advance(whole)
    return figures, failed


def _keep(results: dict[str, object], where: str | None, console: Console) -> None:
    if where == "-":
        print(json.dumps(results, indent=2))
        return
    path = Path(where) if where else RESULTS / f"{datetime.now(UTC):%Y-%m-%dT%H-%M-%S}.json"
    report.write_json(results, path)
    console.print(f"written to {path}")


def _parse(argv: list[str] | None, names: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure how fast Darkroom is.")
    parser.add_argument("--only", action="append", choices=names, metavar="NAME", help="this group (repeatable)")
    parser.add_argument("--quick", action="store_true", help="fewer rounds and rows: a rough look in a few minutes")
    parser.add_argument("--list", action="store_true", help="say which groups there are")
    parser.add_argument("--json", metavar="PATH", help="where to write the numbers; - for standard output")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
