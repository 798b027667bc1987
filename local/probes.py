"""Is a process of the stack up? Each question is quick and never raises."""

import http.client
from pathlib import Path

READY_WORDS = b"worker_ready"
"""The event that a worker logs when it takes messages (`workers/tasks.py`)."""
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


def worker_said_ready(log: Path, offset: int) -> bool:
    """Whether this run of a worker has logged that it is ready. `offset`: where this run's part of the log begins."""
    try:
        with log.open("rb") as file:
            file.seek(offset)
            return READY_WORDS in file.read(LOOK_AT_BYTES)
    except OSError:
        return False
