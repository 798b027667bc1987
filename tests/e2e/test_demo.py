"""`darkroom demo` as `make demo` runs it: a real process that leaves a report behind and nothing else."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.e2e.conftest import REPOSITORY

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
PATIENCE = 240.0


def _command(*words: str) -> list[str]:
    return [sys.executable, "-m", "darkroom", "demo", *words]


def _environment(folder: Path, **settings: str) -> dict[str, str]:
    """Temporary files go to `folder`, so that everything which is left can be seen."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DARKROOM_")}
    return kept | {"TMPDIR": str(folder), "PYTHONPATH": str(REPOSITORY), **settings}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "tmp").mkdir()
    return tmp_path / "tmp"


def _left_below(folder: Path) -> list[str]:
    """Folders of the demo's stack that are still there: its state, or its sockets."""
    return [path.name for path in folder.iterdir() if re.match(r"darkroom-(demo|\d+)-", path.name)]


def _running_in(folder: Path) -> list[str]:
    """Processes whose environment names the folder as theirs."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("DARKROOM_HOME", "").startswith(str(folder)) and process.status() != "zombie":
                found.append(" ".join(process.cmdline()))
        except psutil.Error:
            continue
    return found


def test_the_demo_holds_what_it_claims(tmp_path: Path, folder: Path) -> None:
    report = tmp_path / "report.html"
    # A user's own settings are about another stack; these would break the demo if it took them over.
    environment = _environment(folder, DARKROOM_PORT="1", DARKROOM_DATABASE_URL="postgresql://nobody@127.0.0.1:1/none")
    command = _command("--json", "--report", str(report))
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    facts: dict[str, Any] = json.loads(done.stdout)

    assert facts["passed"]
    assert all(claim["held"] for claim in facts["claims"])
    assert facts["index"]["in_collection"] >= 500
    assert 0 < facts["index"]["by_url"] < facts["index"]["pictures"]
    assert [search["by"] for search in facts["searches"]] == ["text"] * 6 + ["picture"] * 3
    assert all(search["results"] for search in facts["searches"])
    assert facts["weighted"]["red_after"] < facts["weighted"]["red_before"]
    assert facts["tags"]["tagged"] >= 500
    assert sum(facts["tags"]["months"].values()) == facts["tags"]["tagged"]
    assert facts["duplicates"]["found"] == {"exact": 40, "perceptual": 20}
    _check_kill(facts["kill"])

    assert len(facts["pids"]) > 8
    assert facts["left_running"] == []
    assert _running_in(folder) == []
    assert _left_below(folder) == []
    html = report.read_text()
    assert "Every claim held" in html
    assert not re.search(r"https?://", html)


def _check_kill(kill: dict[str, Any]) -> None:
    assert kill["held"]
    assert kill["new_pid"] not in (None, kill["pid"])
    assert {job["status"] for job in kill["jobs"]} == {"succeeded"}
    assert {job["id"] for job in kill["jobs"] if job["attempt"] > 1} >= set(kill["held"])
    assert sum(job["indexed"] + job["skipped"] for job in kill["jobs"]) == kill["pictures"] == kill["in_collection"]


@pytest.mark.parametrize("when", ["Starting", "Indexing"])
def test_ctrl_c_leaves_nothing(tmp_path: Path, folder: Path, when: str) -> None:
    output = tmp_path / "output"
    with output.open("wb") as file:
        process = subprocess.Popen(
            _command("--report", str(tmp_path / "report.html")), env=_environment(folder), stdout=file, stderr=file
        )
    # Without a terminal a bar is printed when it is full: the stage before it is over, then.
    signs = {"Starting": lambda: any(folder.rglob("stack.json")), "Indexing": lambda: "Starting" in output.read_text()}
    deadline = time.monotonic() + 60
    while not signs[when]():
        assert process.poll() is None, output.read_text()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130, output.read_text()
    assert _left_below(folder) == []
    assert _running_in(folder) == []
