"""Starting a child process that does not outlive its parent, and telling it apart from a later owner of its pid."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from shared.errors import DarkroomError

PR_SET_PDEATHSIG = 1  # linux/prctl.h
SAME_START_SECONDS = 2.0
"""A recorded start time and the kernel's may differ by a corrected clock; no pid comes round again in this time."""


class ChildFailed(DarkroomError):
    """A process of the embedded stack did not come up; the message ends with its log's tail."""


@dataclass(frozen=True)
class Identity:
    """A process, not only its number: pids are used again, (pid, start time) is not."""

    pid: int
    started: float
    """Unix seconds, as the kernel says."""

    @classmethod
    def of(cls, pid: int) -> "Identity":
        return cls(pid, psutil.Process(pid).create_time())

    @classmethod
    def of_this_process(cls) -> "Identity":
        return cls.of(os.getpid())

    def process(self) -> psutil.Process | None:
        """The running process, or None when it ended (a zombie has ended) or the pid is another's by now."""
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.started) < SAME_START_SECONDS
            return process if same and process.status() != psutil.STATUS_ZOMBIE else None
        except psutil.Error:
            return None


def _follow_parent(parent: int, death_signal: signal.Signals) -> Callable[[], None] | None:
    """What the child does between fork and exec: ask the kernel for a signal when its parent dies (Linux only)."""
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None)

    def ask() -> None:
        libc.prctl(PR_SET_PDEATHSIG, death_signal.value, 0, 0, 0)
        if os.getppid() != parent:  # it died before the line above
            os._exit(1)

    return ask


def spawn(
    command: Sequence[str],
    *,
    log: Path,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    death_signal: signal.Signals = signal.SIGTERM,
) -> "subprocess.Popen[bytes]":
    """Start `command` with its output appended to `log`, in a process group of its own (a Ctrl-C is not for it).

    Call it from a thread that lives as long as the parent: the kernel ties `death_signal` to the calling thread.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=env,
            cwd=cwd,
            process_group=0,
            preexec_fn=_follow_parent(os.getpid(), death_signal),
        )


def wait_until(ready: Callable[[], bool], process: "subprocess.Popen[bytes]", *, log: Path, seconds: float) -> None:
    """Poll `ready` until it holds.

    Raises:
        ChildFailed: when the process ends first, or `seconds` pass.
    """
    deadline = time.monotonic() + seconds
    while not ready():
        name = log.stem
        if process.poll() is not None:
            raise ChildFailed(f"{name} ended at start with exit code {process.returncode}.\n{tail(log)}")
        if time.monotonic() > deadline:
            raise ChildFailed(f"{name} was not ready within {seconds:.0f} s.\n{tail(log)}")
        time.sleep(0.02)


def stop(process: "subprocess.Popen[bytes]", how: signal.Signals, seconds: float) -> None:
    """Signal, wait, and kill what did not end in time."""
    if process.poll() is None:
        process.send_signal(how)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def tail(log: Path, lines: int = 15) -> str:
    """The last lines of a log, indented; a hint where it is."""
    try:
        text = log.read_bytes()[-16_000:].decode(errors="replace").splitlines()[-lines:]
    except OSError:
        text = []
    return "\n".join([f"  {line}" for line in text] + [f"  (whole log: {log})"])
