"""Named points where fault tests strike. In production each is a function call that returns at once.

A test arms a point by a file of its name in the folder DARKROOM_FAULTS_DIR, holding the name of a signal (`SIGKILL`),
or `parent:` and one. The first process that comes by takes the file away and sends itself (or its parent, the worker
that supervises it) that signal, so a restarted process passes unharmed. The file stays behind as `<point>.taken.<pid>`.
"""

import os
import signal
from pathlib import Path

_FOLDER = os.environ.get("DARKROOM_FAULTS_DIR")

POINTS = (
    "api.after_insert",
    "api.after_commit",
    "api.after_ring",
    "worker.after_claim",
    "worker.before_effect",
    "worker.after_effect",
    "worker.before_finish",
    "worker.after_finish",
    "worker.before_ack",
    "sweeper.after_rescue",
)


def fault_point(name: str) -> None:
    """Strike here if a test has armed `name`."""
    if _FOLDER is None:
        return
    armed = Path(_FOLDER, name)
    taken = armed.with_name(f"{name}.taken.{os.getpid()}")
    try:
        armed.rename(taken)  # atomic: one process strikes, once
    except FileNotFoundError:
        return
    whom, _, signal_name = taken.read_text().strip().rpartition(":")
    os.kill(os.getppid() if whom == "parent" else os.getpid(), signal.Signals[signal_name])


def arm(folder: Path, name: str, strike: str = "SIGKILL") -> None:
    """For tests: strike the next process that passes `name`."""
    if name not in POINTS:
        raise ValueError(f"no such fault point: {name}")
    folder.mkdir(parents=True, exist_ok=True)
    waiting = folder / f".{name}"
    waiting.write_text(strike)
    waiting.rename(folder / name)
