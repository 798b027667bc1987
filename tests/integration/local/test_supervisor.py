"""The supervisor with toy processes: it starts, restarts, stops in order, and leaves nobody behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from local.children import Identity
from local.home import Home
from local.state import ProcessState, StackState

TOYS = Path(__file__).with_name("toy_stack.py")
REPOSITORY = TOYS.parents[3]


class Toys:
    """One run of the toy stack."""

    def __init__(self, folder: Path, scene: str) -> None:
        self.home = Home(folder)
        self.output = folder.with_name(f"{folder.name}.{time.monotonic_ns()}.out")
        with self.output.open("w") as output:
            self.process = subprocess.Popen(
                [sys.executable, str(TOYS), str(folder), scene],
                stdout=output,
                stderr=subprocess.STDOUT,
                env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
            )

    def says(self, words: str) -> bool:
        return words in self.output.read_text()

    def role(self, role: str) -> ProcessState:
        state = StackState.read(self.home)
        assert state is not None
        return next(process for process in state.processes if process.role == role)

    def await_up(self) -> None:
        until(lambda: self.says("all is up"), self)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[str], Toys]]:
    runs: list[Toys] = []

    def one(scene: str) -> Toys:
        runs.append(Toys(tmp_path / "home", scene))
        return runs[-1]

    yield one
    for run in runs:
        if run.process.poll() is None:
            run.process.terminate()
            time.sleep(0.5)
            run.process.terminate()
            run.process.wait(20)


def until(holds: Callable[[], object], toys: Toys, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, toys.output.read_text()
        time.sleep(0.02)


def test_starts_and_stops_on_sigterm(start: Callable[[str], Toys]) -> None:
    toys = start("calm")
    toys.await_up()
    pids = [toys.role(role).pid for role in ("server", "one", "two")]
    assert all(pids)
    toys.process.send_signal(signal.SIGTERM)
    assert toys.process.wait(20) == 0
    assert not any(pid and psutil.pid_exists(pid) for pid in pids)
    state = StackState.read(toys.home)
    assert state is not None
    assert (state.phase, {process.state for process in state.processes}) == ("stopped", {"stopped"})


@pytest.mark.parametrize("role", ["server", "one"])
def test_a_killed_process_is_started_again(start: Callable[[str], Toys], role: str) -> None:
    toys = start("calm")
    toys.await_up()
    before = toys.role(role).pid
    assert before
    os.kill(before, signal.SIGKILL)
    until(lambda: toys.role(role).pid not in (before, None) and toys.role(role).state == "running", toys)
    after = toys.role(role)
    assert (after.restarts, after.exit_code) == (1, -signal.SIGKILL)
    assert toys.says(f"{role} was killed by SIGKILL")


def test_children_of_a_killed_process_go_with_it(start: Callable[[str], Toys]) -> None:
    toys = start("nest")
    toys.await_up()
    pid = toys.role("nest").pid
    assert pid
    grandchildren = psutil.Process(pid).children()
    os.kill(pid, signal.SIGKILL)
    until(lambda: grandchildren and not any(child.is_running() for child in grandchildren), toys)


def test_a_crash_loop_fails_the_start_with_the_end_of_the_log(start: Callable[[str], Toys]) -> None:
    toys = start("dying")
    assert toys.process.wait(30) == 1
    assert toys.says("dying ended with exit code 7, 4 times in a row")
    assert toys.says("no such luck")


def test_a_failed_migration_fails_the_start(start: Callable[[str], Toys]) -> None:
    toys = start("bad-migration")
    assert toys.process.wait(30) == 1
    assert toys.says("could not be migrated")
    assert toys.says("no table")


def test_who_does_not_end_in_time_is_killed(start: Callable[[str], Toys]) -> None:
    toys = start("stubborn")
    toys.await_up()
    toys.process.send_signal(signal.SIGINT)
    assert toys.process.wait(20) == 0
    assert toys.says("stubborn did not end in 1 s and is killed")


def test_a_second_ctrl_c_hurries(start: Callable[[str], Toys]) -> None:
    toys = start("stubborn-for-long")
    toys.await_up()
    begun = time.monotonic()
    toys.process.send_signal(signal.SIGINT)
    until(lambda: (state := StackState.read(toys.home)) and state.phase == "stopping", toys)
    time.sleep(0.3)
    assert toys.process.poll() is None
    toys.process.send_signal(signal.SIGINT)
    assert toys.process.wait(10) == 0
    assert time.monotonic() - begun < 10


def test_a_stop_during_the_start_leaves_nothing(start: Callable[[str], Toys]) -> None:
    toys = start("dying")
    until(lambda: toys.says("it is started again"), toys)
    server = toys.role("server").pid
    toys.process.send_signal(signal.SIGTERM)
    assert toys.process.wait(10) == 0
    assert server
    assert not psutil.pid_exists(server)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the kernel ties children to their parent on Linux")
def test_children_end_when_the_supervisor_is_killed(start: Callable[[str], Toys]) -> None:
    toys = start("calm")
    toys.await_up()
    processes = [psutil.Process(toys.role(role).pid) for role in ("server", "one", "two")]
    toys.process.kill()
    toys.process.wait()
    until(lambda: not any(alive(process) for process in processes), toys)


def test_the_next_start_stops_what_was_left(start: Callable[[str], Toys]) -> None:
    first = start("stubborn-for-long")  # ignores the kernel's SIGTERM too
    first.await_up()
    orphan = psutil.Process(first.role("stubborn").pid)
    first.process.kill()
    first.process.wait()
    second = start("calm")
    until(lambda: second.says("all is up"), second, seconds=40)
    assert second.says("orphan stubborn")
    assert not alive(orphan)


def test_a_recycled_pid_is_left_alone(start: Callable[[str], Toys], tmp_path: Path) -> None:
    """The record names a pid that is another program's by now."""
    home = Home(tmp_path / "home")
    home.prepare()
    with subprocess.Popen(["sleep", "60"]) as bystander:
        stale = StackState(Identity(pid=2**22 - 1, started=1_000_000.0))
        stale.processes = [ProcessState("one", "running", bystander.pid, started=1_000_000.0)]
        stale.save(home)
        toys = start("calm")
        toys.await_up()
        assert bystander.poll() is None
        assert not toys.says("orphan")
        bystander.kill()


def alive(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
