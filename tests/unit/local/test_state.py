"""What `darkroom status` says of a stack that runs, is dead, or was killed."""

import os
from pathlib import Path

from local.children import Identity
from local.home import Home
from local.printing import status_table, without_password
from local.state import ProcessState, StackState, report

NOBODY = Identity(pid=2**22 - 1, started=1_000_000.0)


def running_here(role: str) -> ProcessState:
    me = Identity.of_this_process()
    process = ProcessState(role, pid=me.pid, started=me.started)
    process.enter("running")
    return process


def test_state_survives_its_file(tmp_path: Path) -> None:
    home = Home(tmp_path)
    state = StackState(Identity.of_this_process(), "running", [running_here("api")], {"api": "http://x"})
    state.save(home)
    assert StackState.read(home) == state
    assert home.state_file.stat().st_mode & 0o777 == 0o600


def test_all_running() -> None:
    state = StackState(Identity.of_this_process(), "running", [running_here("api"), running_here("sweeper")])
    assert state.all_running
    assert report(state)["processes"][0] | {"since": None, "started": None} == {
        "role": "api",
        "state": "running",
        "pid": os.getpid(),
        "started": None,
        "restarts": 0,
        "since": None,
        "exit_code": None,
    }
    state.processes[0].enter("waiting")
    assert not state.all_running


def test_a_recorded_pid_that_is_anothers_does_not_run() -> None:
    stale = ProcessState("api", "running", os.getpid(), started=1_000_000.0)
    state = StackState(Identity.of_this_process(), "running", [stale])
    assert not state.all_running
    assert (report(state)["processes"][0]["state"], report(state)["processes"][0]["pid"]) == ("stopped", None)


def test_a_killed_supervisor_has_no_urls_and_what_it_left_is_named(tmp_path: Path) -> None:
    state = StackState(
        NOBODY, "running", [running_here("api"), ProcessState("sweeper", "running", 1, 1.0)], {"api": "u"}
    )
    shown = report(state)
    assert (shown["phase"], shown["supervisor"], shown["urls"]) == ("stopped", None, {})
    assert "Left over: api;" in status_table(shown, tmp_path)


def test_nothing_there(tmp_path: Path) -> None:
    assert StackState.read(Home(tmp_path)) is None
    assert report(None)["processes"] == []
    (tmp_path / "stack.json").write_text("{")
    assert StackState.read(Home(tmp_path)) is None


def test_the_table_names_all_and_hides_passwords(tmp_path: Path) -> None:
    urls = {"redis": "redis://:secret@127.0.0.1:1/0"}
    text = status_table(
        report(StackState(Identity.of_this_process(), "running", [running_here("api")], urls)), tmp_path
    )
    assert "api" in text
    assert "redis://:***@127.0.0.1:1/0" in text
    assert "secret" not in text
    assert without_password("postgresql://darkroom@/darkroom?host=/x") == "postgresql://darkroom@/darkroom?host=/x"
