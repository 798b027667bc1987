"""Is a process of the stack up? Each question is quick and never raises."""

import http.client

from local.child import Run

TAKES_MESSAGES = b"worker_ready"
PROCESS_IS_READY = b"worker_process_ready"
"""Events that a worker logs (`workers/tasks.py`, `workers/process.py`): it listens; one process has its models."""
SILENT_SECONDS = 20.0
"""A worker whose log level hides these events counts as up at this age."""
LOOK_AT_BYTES = 1_000_000


def answers(host: str, port: int, path: str, *, seconds: float = 1.0) -> bool:
    """Whether an HTTP server answers 200. No proxy of the environment comes between."""
    connection = http.client.HTTPConnection(host, port, timeout=seconds)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def worker_is_ready(run: Run, processes: int, *, silent: bool) -> bool:
    """Whether a worker has logged that it, and each of its processes, is ready. `silent`: it does not log that."""
    if silent:
        return run.age > SILENT_SECONDS
    try:
        with run.log.open("rb") as file:
            file.seek(run.offset)
            said = file.read(LOOK_AT_BYTES)
    except OSError:
        return False
    return TAKES_MESSAGES in said and said.count(PROCESS_IS_READY) >= processes
