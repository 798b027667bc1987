"""`examples/index_folder.py` as a stranger runs it: a real folder, a real stack."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import REPOSITORY, Stack
from tests.e2e.pictures import CATALOGUE, catalogue

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]
GOOD = 70
"""More than one job takes."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder as people have them: one below it, a file that only claims to be a picture, and one cut short."""
    below = tmp_path / "pictures" / "holidays in 岩手"
    below.mkdir(parents=True)
    for position, entry in enumerate(catalogue()[:GOOD]):
        file = CATALOGUE / entry["file"]
        shutil.copy(file, (below if position % 2 else below.parent) / file.name)
    (below / "notes.jpg").write_text("Dear diary")
    whole = (CATALOGUE / catalogue()[GOOD]["file"]).read_bytes()
    (below / "cut.webp").write_bytes(whole[: len(whole) // 2])
    (below / "readme.txt").write_text("not looked at")
    return below.parent


def _run(stack: Stack, *words: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(REPOSITORY / "examples" / "index_folder.py"), *words]
    environment = {**os.environ, "NO_PROXY": "127.0.0.1"}
    return subprocess.run(
        [*command, "--url", stack.url("api")], capture_output=True, text=True, timeout=120, check=False, env=environment
    )


def test_a_folder_is_indexed_and_searched(stack: Stack, folder: Path) -> None:
    first = _run(stack, str(folder), "--collection", "mine")
    assert f"{GOOD} indexed, 0 unchanged, 2 failed" in first.stdout, first
    assert first.returncode == 1
    assert {line.split(":")[0].strip() for line in first.stderr.splitlines()} == {
        "holidays in 岩手/notes.jpg",
        "holidays in 岩手/cut.webp",
    }

    again = _run(stack, str(folder), "--collection", "mine")
    assert f"0 indexed, {GOOD} unchanged, 2 failed" in again.stdout, again

    some = next(folder.glob("*.webp"))
    found = _run(stack, "--collection", "mine", "--search-picture", str(some), "--top", "3")
    assert found.returncode == 0, found
    assert found.stdout.splitlines()[0].split() == ["1.000", some.name]
    assert len(found.stdout.splitlines()) == 3
    assert _run(stack, "--collection", "mine", "--search", "a happy face").returncode == 0


def test_mistakes_are_explained(stack: Stack, tmp_path: Path) -> None:
    empty = _run(stack, str(tmp_path), "--collection", "mine")
    assert (empty.returncode, "no pictures" in empty.stderr) == (1, True)
    unknown = _run(stack, "--collection", "nothing-here", "--search", "cat")
    assert (unknown.returncode, "nothing-here" in unknown.stderr) == (1, True)
    wrong = _run(stack, "--collection", "not a name", "--search", "cat")
    assert (wrong.returncode, "input.collection" in wrong.stderr) == (1, True)


def test_no_server(tmp_path: Path) -> None:
    command = [
        sys.executable,
        str(REPOSITORY / "examples" / "index_folder.py"),
        "--collection",
        "mine",
        "--search",
        "x",
    ]
    environment = {**os.environ, "NO_PROXY": "127.0.0.1"}
    done = subprocess.run(
        [*command, "--url", "http://127.0.0.1:9"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=environment,
    )
    assert (done.returncode, "make up" in done.stderr) == (1, True)
