"""A whole stack as a user starts it: `darkroom up` as a real process, in a folder and on ports of its own.

`stack` is shared by the session: leave it running. `make_stack` gives stacks that a test may stop, kill, start again.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from local.sockets import free_port

REPOSITORY = Path(__file__).parents[2]
UP_SECONDS = 120.0
SETTINGS = {
    "DARKROOM_ENABLE_NOOP": "true",
    # Short, so that a killed worker's jobs come back while a test waits.
    "DARKROOM_LEASE_SECONDS": "3",
    "DARKROOM_SWEEP_SECONDS": "0.3",
    "DARKROOM_RETRY_BASE_SECONDS": "0.2",
    "DARKROOM_DRAIN_SECONDS": "10",
    "DARKROOM_DEVICE": "cpu",
}


@dataclass
class Stack:
    """One state folder with its port, whether or not it runs now."""

    home: Path
    port: int
    settings: Mapping[str, str] = field(default_factory=dict)
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("DARKROOM_")}
        own = {"DARKROOM_HOME": str(self.home), "DARKROOM_PORT": str(self.port), "PYTHONPATH": str(REPOSITORY)}
        return kept | SETTINGS | dict(self.settings) | own

    def darkroom(self, *words: str, timeout: float = UP_SECONDS) -> "subprocess.CompletedProcess[str]":
        """Run a verb of the command line to its end."""
        command = [sys.executable, "-m", "darkroom", *words]
        return subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=timeout, check=False
        )

    def up(self) -> None:
        """Start it in the foreground of a process of its own, and wait until all runs."""
        self.output.parent.mkdir(parents=True, exist_ok=True)
        with self.output.open("w") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "darkroom", "up"],
                env=self.environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.until(lambda: "Try, in another shell:" in self.output.read_text(), "up", UP_SECONDS)

    def stop(self, how: signal.Signals = signal.SIGINT) -> int:
        """Signal the foreground process and wait for its end; answers its exit code."""
        assert self.process is not None
        self.process.send_signal(how)
        code = self.process.wait(60)
        self.process = None
        return code

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.darkroom("status", "--json").stdout)
        return found

    def state_of(self, role: str) -> dict[str, Any]:
        return next(process for process in self.state()["processes"] if process["role"] == role)

    def state(self) -> dict[str, Any]:
        """What the supervisor last wrote; cheaper than `status` for a loop."""
        found: dict[str, Any] = json.loads((self.home / "stack.json").read_text())
        return found

    def url(self, name: str) -> str:
        return str(self.state()["urls"][name])

    def family(self) -> list[psutil.Process]:
        """The supervisor and everything below it."""
        supervisor = psutil.Process(self.state()["supervisor"]["pid"])
        return [supervisor, *supervisor.children(recursive=True)]

    def client(self) -> httpx.Client:
        """A client of its API, without a key: anonymous requests act as the tenant `default`."""
        return httpx.Client(base_url=self.url("api"), timeout=60, trust_env=False)

    def until(self, holds: Callable[[], object], what: str, seconds: float = 30.0) -> None:
        """Wait for something to hold, or fail with the stack's own words."""
        deadline = time.monotonic() + seconds
        while not holds():
            ended = self.process is not None and self.process.poll() is not None
            if ended or time.monotonic() > deadline:
                said = self.output.read_text() if self.output.exists() else ""
                pytest.fail(f"not {what} {'(the stack ended)' if ended else f'within {seconds} s'}:\n{said[-6000:]}")
            time.sleep(0.05)

    def until_all_run(self, seconds: float = 60.0) -> None:
        self.until(
            lambda: {process["state"] for process in self.state()["processes"]} == {"running"}, "running", seconds
        )

    def end(self) -> None:
        """Whatever state it is in, leave nothing running."""
        with contextlib.suppress(Exception):
            self.darkroom("down", timeout=60)
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    @property
    def output(self) -> Path:
        """What `darkroom up` printed."""
        return self.home.with_name(self.home.name + ".out")


MakeStack = Callable[..., Stack]


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A running stack for the whole session."""
    shared = Stack(tmp_path_factory.mktemp("stack") / "home", free_port())
    try:
        shared.up()
        yield shared
    finally:
        shared.end()


@pytest.fixture
def make_stack(tmp_path: Path) -> Iterator[MakeStack]:
    """Call it for a stack that is not started yet, with settings of its own: `make_stack(DARKROOM_…="…")`."""
    made: list[Stack] = []

    def make(**settings: str) -> Stack:
        made.append(Stack(tmp_path / f"home{len(made)}", free_port(), settings))
        return made[-1]

    yield make
    for one in made:
        one.end()
