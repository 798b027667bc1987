"""The command line, and what the exit code means."""

import json
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bench.__main__ import main
from bench.figure import Figure
from bench.figures.registry import FIGURES
from bench.samples import Samples


def test_the_groups_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(FIGURES)


def test_an_unknown_group_is_refused() -> None:
    with pytest.raises(SystemExit):
        main(["--only", "nothing"])


@contextmanager
def _no_stack(folder: Path) -> Any:
    yield None


@pytest.fixture
def measure(tmp_path: Path) -> Callable[[Callable[[Any], list[Figure]]], Any]:
    """Run the command with one group made for the occasion; (exit code, results or None)."""

    def run(group: Callable[[Any], list[Figure]]) -> Any:
        file = tmp_path / "results.json"
        code = main(["--only", "submit", "--json", str(file)], {"submit": ("", group)}, _no_stack)
        return code, json.loads(file.read_text()) if file.exists() else None

    return run


def test_a_missed_aim_is_a_result(measure: Any) -> None:
    code, results = measure(lambda lab: [Figure("slow", Samples("", "jobs/s", [1.0]), bar=700)])
    assert code == 0
    assert results["figures"][0]["mark"] == "short"


def test_what_cannot_be_measured_is_an_error(measure: Any) -> None:
    def fail(lab: Any) -> list[Figure]:
        raise RuntimeError("no such thing")

    assert measure(fail) == (1, None)
