"""What a supervisor tells the world about its stack: `stack.json` in the state folder."""

import json
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from local.children import Identity
from local.home import Home, write_private


@dataclass
class ProcessState:
    """One process of the stack as `darkroom status` shows it."""

    role: str
    state: str = "waiting"
    """waiting (for its turn, or after a crash), starting, running, stopped."""
    pid: int | None = None
    started: float | None = None
    """The kernel's start time of `pid`, in Unix seconds."""
    restarts: int = 0
    since: str | None = None
    """When it came into this state."""
    exit_code: int | None = None
    """How its predecessor ended, when it was restarted; negative: by that signal."""

    def enter(self, state: str) -> None:
        self.state = state
        self.since = datetime.now(UTC).isoformat(timespec="milliseconds")

    @property
    def identity(self) -> Identity | None:
        return Identity(self.pid, self.started) if self.pid and self.started else None

    def is_alive(self) -> bool:
        identity = self.identity
        return identity is not None and identity.process() is not None


@dataclass
class StackState:
    """The whole stack."""

    supervisor: Identity
    phase: str = "starting"
    """starting, running, stopping, failed."""
    processes: list[ProcessState] = field(default_factory=list)
    urls: dict[str, str] = field(default_factory=dict)

    @property
    def is_supervised(self) -> bool:
        return self.supervisor.process() is not None

    @property
    def all_running(self) -> bool:
        states = [process.state == "running" and process.is_alive() for process in self.processes]
        return self.phase == "running" and self.is_supervised and all(states)

    def save(self, home: Home) -> None:
        write_private(home.state_file, json.dumps(asdict(self), indent=2))

    @classmethod
    def read(cls, home: Home) -> "StackState | None":
        """The last word of the last supervisor; None when there was none, or nobody can read it."""
        try:
            data = json.loads(home.state_file.read_text())
            processes = [ProcessState(**process) for process in data.pop("processes")]
            return cls(supervisor=Identity(**data.pop("supervisor")), processes=processes, **data)
        except (OSError, ValueError, TypeError, KeyError):
            return None


def report(state: StackState | None) -> dict[str, Any]:
    """The answer of `darkroom status --json`."""
    if state is None:
        return {"phase": "stopped", "supervisor": None, "processes": [], "urls": {}}
    processes = []
    for process in state.processes:
        alive = process.is_alive()
        shown = asdict(process)
        if not alive:
            shown |= {"pid": None, "started": None}
            shown["state"] = process.state if state.is_supervised and process.state != "running" else "stopped"
        processes.append(shown)
    supervised = state.is_supervised
    return {
        "phase": state.phase if supervised else "stopped",
        "supervisor": state.supervisor.pid if supervised else None,
        "processes": processes,
        "urls": state.urls if supervised else {},
    }
