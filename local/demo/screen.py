"""What the demo shows in a terminal."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from local.demo.claims import AMONG_FIRST
from local.demo.facts import Facts, KillRun, Search


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


def failure(facts: Facts) -> str:
    """Why it failed, in one line."""
    failed = [claim.text for claim in facts.claims if not claim.held]
    return "it broke off before its end" if facts.problem else "; ".join(failed)
