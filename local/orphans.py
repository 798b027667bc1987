"""Stopping what a supervisor left behind that was killed, by pid and start time, so that nobody else is ever hit."""

import contextlib
import os
import signal

import psutil

from local.state import ProcessState, StackState

PATIENCE_SECONDS = 10.0


def stop_orphans(state: StackState | None) -> list[str]:
    """End every recorded process that still runs, servers last; answers their roles. The supervisor must be dead."""
    left = [process for process in (state.processes if state else []) if process.is_alive()]
    servers = [process for process in left if process.role in ("postgres", "valkey")]
    _stop([process for process in left if process not in servers])
    _stop(servers)
    return [process.role for process in left]


def _stop(orphans: list[ProcessState]) -> None:
    pairs = []
    for orphan in orphans:
        process = orphan.identity and orphan.identity.process()
        if process:
            pairs.append(process)
            with contextlib.suppress(psutil.NoSuchProcess):
                # Postgres: SIGINT ends it at once and cleanly, SIGTERM would wait for its clients.
                process.send_signal(signal.SIGINT if orphan.role == "postgres" else signal.SIGTERM)
    _, alive = psutil.wait_procs(pairs, timeout=PATIENCE_SECONDS)
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    psutil.wait_procs(alive, timeout=PATIENCE_SECONDS)
