"""How a figure is marked, and what of it is written."""

import json
from pathlib import Path

import pytest
from rich.console import Console

from bench import report
from bench.figure import Figure, Mark
from bench.samples import Samples


@pytest.mark.parametrize(("value", "mark"), [(1_500, Mark.AIM), (700, Mark.BAR), (699, Mark.SHORT)])
def test_more_is_better(value: float, mark: Mark) -> None:
    assert Figure("submit", Samples("", "jobs/s", [value]), bar=700, aim=1_500).mark is mark


@pytest.mark.parametrize(("value", "mark"), [(8, Mark.AIM), (20, Mark.BAR), (21, Mark.SHORT)])
def test_less_is_better(value: float, mark: Mark) -> None:
    assert Figure("wait", Samples("", "ms", [value]), bar=20, aim=8, higher_is_better=False).mark is mark


def test_a_figure_without_goals_has_no_mark() -> None:
    assert Figure("indexing", Samples("", "pictures/s", [1.0])).mark is Mark.NONE


def test_results_are_written_as_json_and_as_a_table(tmp_path: Path) -> None:
    bare = Samples("bare", "jobs/s", [500.0, 510.0])
    figures = [Figure("submit", Samples("ours", "jobs/s", [1_000.0, 1_020.0]), [bare], bar=700)]
    about = report.machine()
    file = tmp_path / "new" / "results.json"
    report.write_json(report.as_json(figures, about, quick=True), file)
    (written,) = json.loads(file.read_text())["figures"]
    assert (written["median"], written["mark"], written["beside"][0]["ratio"]) == (1_010, "bar reached", 2)
    console = Console(width=200, record=True)
    report.print_table(console, figures, about, quick=True)
    assert "1,010 jobs/s" in console.export_text()
