"""One process under supervision: what it is, and where it stands."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from local import children
from local.backoff import Backoff
from local.state import ProcessState

LARGEST_LOG = 20_000_000
"""Bytes; a log is put aside (one older copy is kept) when its process starts and it is larger."""


@dataclass(frozen=True)
class Run:
    """One life of a process, for those who ask whether it is up."""

    log: Path
    offset: int
    """Where this run's part of the log begins."""
    age: float
    """Seconds since its start."""


def _at_once(_run: Run) -> bool:
    return True


@dataclass(frozen=True)
class Spec:
    """How to run one process of the stack."""

    role: str
    command: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    prepare: Callable[[], None] = lambda: None
    """Before each start."""
    ready: Callable[[Run], bool] = _at_once
    """Is it up? Asked again and again, so it answers quickly."""
    ready_seconds: float = 120.0
    stop_stage: int = 1
    """Lower stages are stopped first, all of one stage together."""
    stop_signal: signal.Signals = signal.SIGTERM
    stop_seconds: float = 30.0
    hurry_signal: signal.Signals = signal.SIGKILL
    """What a second Ctrl-C sends; servers that hold data get a fast shutdown all the same."""


class Child:
    """A spec with its process, over all its restarts. Nothing here blocks."""

    def __init__(self, spec: Spec, log: Path) -> None:
        self.spec = spec
        self.log = log
        self.state = ProcessState(spec.role)
        self.backoff = Backoff()
        self._process: subprocess.Popen[bytes] | None = None
        self._log_offset = 0
        self._started = 0.0
        self._next_start = 0.0

    def start(self) -> None:
        """Start it now."""
        self.spec.prepare()
        if self.log.exists() and self.log.stat().st_size > LARGEST_LOG:
            self.log.replace(self.log.with_suffix(".log.1"))
        self._log_offset = self.log.stat().st_size if self.log.exists() else 0
        self._process = children.spawn(
            self.spec.command, log=self.log, env=self.spec.env, death_signal=self.spec.stop_signal
        )
        self._started = time.monotonic()
        self.state.pid = self._process.pid
        self.state.started = children.Identity.of(self._process.pid).started
        self.state.enter("starting")

    def look(self) -> bool:
        """Notice a death, a readiness, or that it is time to start again. True when something changed."""
        if self._process is None:
            if time.monotonic() < self._next_start:
                return False
            self.start()
            return True
        if self.has_ended():
            self._bury()
            return True
        run = Run(self.log, self._log_offset, time.monotonic() - self._started)
        if self.state.state == "starting" and self.spec.ready(run):
            self.state.enter("running")
            return True
        return False

    def has_ended(self) -> bool:
        """Whether its process is gone; what is left of its process group is killed first."""
        if self._process is None:
            return True
        if self._process.returncode is None and _is_waitable(self._process.pid):
            # Before the pid is reaped, and could be used again.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
        return self._process.poll() is not None

    def signal(self, how: signal.Signals) -> None:
        """Send a signal to its process, if there is one."""
        if self._process is not None and not self.has_ended():
            self._process.send_signal(how)

    def mark_stopped(self) -> None:
        self.state.enter("stopped")
        self.state.pid = self.state.started = None

    @property
    def is_running(self) -> bool:
        return self.state.state == "running"

    @property
    def is_late(self) -> bool:
        """It has been starting for longer than it may."""
        age = time.monotonic() - self._started
        return self.state.state == "starting" and age > self.spec.ready_seconds

    def _bury(self) -> None:
        assert self._process is not None
        self.state.exit_code = self._process.returncode
        self._process = None
        self._next_start = time.monotonic() + self.backoff.died(time.monotonic() - self._started)
        self.state.restarts += 1
        self.state.pid = self.state.started = None
        self.state.enter("waiting")


def _is_waitable(pid: int) -> bool:
    """Ended, and not yet reaped."""
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return False
