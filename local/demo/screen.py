"""What the demo shows in a terminal."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from local.demo.claims import AMONG_FIRST
from local.demo.facts import DuplicateRun, Facts, FilteredSearch, KillRun, Search, TagRun, WeightedSearch


class Screen:
    """Progress bars and tables; on stderr when stdout is for a program to read."""

    def __init__(self, *, on_stderr: bool = False) -> None:
        self._console = Console(stderr=on_stderr, highlight=False)

    def say(self, text: str) -> None:
        self._console.print(text)

    @contextmanager
    def bar(self, title: str) -> Iterator[Callable[[float, float], None]]:
        """A progress bar for a `with` block; yields what to call with how much is done, and of how much."""
        columns = (
            SpinnerColumn(finished_text="[green]✓[/]"),
            TextColumn(f"{title:<46}"),
            BarColumn(bar_width=24),
            TaskProgressColumn(),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=self._console) as progress:
            task = progress.add_task("", total=None)

            def report(done: float, total: float) -> None:
                progress.update(task, completed=done, total=total or None)

            yield report
            total = progress.tasks[0].total or 1
            progress.update(task, completed=total, total=total)

    def searches(self, searches: list[Search]) -> None:
        """A row a search: its best hits with their scores; what was expected is green."""
        table = Table(title="Searches: best hits with cosine scores, expected ones in green", title_justify="left")
        table.add_column("query", no_wrap=True)
        table.add_column(f"first {AMONG_FIRST} of {max(len(search.results) for search in searches)}")
        table.add_column("time", justify="right", no_wrap=True)
        for search in searches:
            name = escape(f"“{search.query}”" if search.by == "text" else f"picture of {search.query}")
            hits = ", ".join(
                f"[{'green' if hit.expected else 'default'}]{escape(hit.name)}[/] [dim]{hit.score:.2f}[/]"
                for hit in search.results[:AMONG_FIRST]
            )
            table.add_row(name, hits, f"{search.seconds * 1000:.0f} ms")
        self._console.print(table)

    def combined(self, weighted: WeightedSearch, filtered: FilteredSearch) -> None:
        """What a weight and a filter do to a search."""
        rows = [
            (f"“{weighted.wanted}”", weighted.plain, f"{weighted.red_before:.0%} red"),
            (
                f"“{weighted.wanted}”, {weighted.weight:+g} “{weighted.unwanted}”",
                weighted.weighted,
                f"{weighted.red_after:.0%} red",
            ),
            (f"“{filtered.text}” in {filter_text(filtered)}", filtered.results, f"{len(filtered.outside)} outside"),
        ]
        table = Table(title="A weighted search, and a filtered one", title_justify="left")
        for column in ("query", f"first {AMONG_FIRST}", ""):
            table.add_column(column)
        for query, hits, note in rows:
            table.add_row(escape(query), ", ".join(escape(hit.name) for hit in hits[:AMONG_FIRST]), note)
        self._console.print(table)

    def tags(self, run: TagRun) -> None:
        """What a tagged directory holds."""
        counts = ", ".join(f"{escape(tag)} {count}" for tag, count in run.counts.items())
        self.say(f"  {run.tagged} of {run.files} files of {run.directory} tagged in {run.seconds:.1f} s: {counts}")
        self.say(f"  the same once more: {run.again_unchanged} unchanged, in {run.again_seconds:.1f} s")

    def duplicates(self, run: DuplicateRun) -> None:
        """Which of the planted copies were found."""
        for kind, planted in run.planted.items():
            groups = sum(group.kind == kind for group in run.groups)
            self.say(f"  {kind}: {run.found[kind]} of {planted} planted copies found, {groups} groups in all")

    def kill(self, run: KillRun) -> None:
        """The story of the kill, a line a moment."""
        lines = [
            (0.0, f"{len(run.jobs)} jobs submitted, {run.pictures:,} pictures"),
            (run.killed_at, f"[red]SIGKILL[/] to {run.role} (pid {run.pid}): it held {len(run.held)} jobs"),
            (run.back_at, f"{run.role} runs again (pid {run.new_pid}), started by the supervisor"),
            (run.taken_over_at, "leases of the held jobs had run out: the first of them is taken over"),
            (run.seconds, f"all {len(run.jobs)} jobs have ended; {run.in_collection:,} pictures in the collection"),
        ]
        for moment, text in sorted((at, text) for at, text in lines if at is not None):
            self.say(f"  [dim]{moment:6.2f} s[/]  {text}")

    def verdict(self, facts: Facts) -> None:
        """The claims, the time, and where to read on."""
        self.say("")
        for claim in facts.claims:
            mark = "[green]✓[/]" if claim.held else "[red]✗[/]"
            self.say(f" {mark} {escape(claim.text)} [dim]({escape(claim.detail)})[/]")
        self.say("")
        if facts.problem:
            self.say(f"[red]{escape(facts.problem)}[/]")
        machine = facts.machine
        busy = f"; the machine was busy with other work (load {machine.load})" if machine.is_busy else ""
        self.say(f"Total: [bold]{facts.total_seconds:.1f} s[/] on {machine.cores} cores{busy}.")
        if facts.report:
            self.say(f"Report: {facts.report}")
        if facts.home:
            self.say(f"Kept: {facts.home} (logs in {facts.home / 'logs'})")
        if not facts.passed:
            self.say("[red bold]The demo failed:[/] " + escape(failure(facts)))


def filter_text(search: FilteredSearch) -> str:
    return ", ".join(f"{field} {value}" for field, value in search.filter.items())


def failure(facts: Facts) -> str:
    """Why it failed, in one line."""
    failed = [claim.text for claim in facts.claims if not claim.held]
    return "it broke off before its end" if facts.problem else "; ".join(failed)
