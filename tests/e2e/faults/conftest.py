"""A stack whose processes can be struck at named points, and the checks that every fault test ends with."""

import contextlib
import os
import signal
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from local.sockets import free_port
from shared.faults import arm
from tests.e2e.conftest import Stack

TERMINAL = {"succeeded", "failed", "canceled"}


@dataclass
class FaultyStack:
    """A running stack, the folder that arms its fault points, and what its users do with it."""

    stack: Stack
    folder: Path

    def arm(self, point: str, strike: str = "SIGKILL") -> None:
        arm(self.folder, point, strike)

    def struck(self, point: str) -> list[int]:
        """The pids that were struck at a point."""
        return [int(path.name.rpartition(".")[2]) for path in self.folder.glob(f"{point}.taken.*")]

    def wait_until_struck(self, point: str) -> int:
        self.stack.until(lambda: self.struck(point), f"struck at {point}")
        return self.struck(point)[0]

    def submit(self, kind: str = "noop", input: dict[str, Any] | None = None, **headers: str) -> uuid.UUID:
        """Submit one job; see `send`."""
        headers.setdefault("Idempotency-Key", str(uuid.uuid4()))
        return self.send(f"/v1/{kind}", {"input": input or {}}, **headers)[0]

    def send(self, path: str, body: dict[str, Any], **headers: str) -> list[uuid.UUID]:
        """Submit as a careful client does: with an idempotency key, again and again until it is accepted."""
        end = time.monotonic() + 60
        while time.monotonic() < end:
            try:
                with self.stack.client() as client:
                    answer = client.post(path, json=body, headers=headers)
                if answer.status_code in (200, 202):
                    return [uuid.UUID(job["id"]) for job in answer.json().get("jobs", [answer.json()])]
                assert answer.status_code == 503, answer.text
            except httpx.TransportError:
                pass
            time.sleep(0.1)
        pytest.fail(f"the API did not take {path}")

    def get(self, job_id: uuid.UUID) -> dict[str, Any]:
        """The job; waits for an API (or a Postgres) that is just being started again."""
        found: dict[str, Any] = {}

        def answered() -> bool:
            with self.stack.client() as client, contextlib.suppress(httpx.TransportError):
                answer = client.get(f"/v1/jobs/{job_id}")
                assert answer.status_code in (200, 503), answer.text
                found.update(answer.json() if answer.status_code == 200 else {})
            return bool(found)

        self.stack.until(answered, "answered")
        return found

    def ended(self, job_id: uuid.UUID, seconds: float = 40.0) -> dict[str, Any]:
        self.stack.until(lambda: self.get(job_id)["status"] in TERMINAL, f"ended: {job_id}", seconds)
        return self.get(job_id)

    def rows(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.stack.url("postgres"), autocommit=True) as connection:
            return connection.execute(statement, parameters).fetchall()  # type: ignore[call-overload, no-any-return]

    def check(self) -> None:
        """What must hold after any fault: nothing is stuck, and nothing is armed any more."""
        self.stack.until(
            lambda: self.rows("SELECT count(*) FROM jobs WHERE state IN ('queued', 'running')") == [(0,)], "drained", 60
        )
        self.stack.until_all_run()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultyStack]:
    folder = tmp_path_factory.mktemp("faults")
    settings = {
        "DARKROOM_FAULTS_DIR": str(folder / "armed"),
        "DARKROOM_LEASE_SECONDS": "2",
        "DARKROOM_STOP_GRACE_SECONDS": "5",
        "DARKROOM_DRAIN_SECONDS": "5",
        "DARKROOM_PRELOAD_MODELS": "[]",
    }
    stack = Stack(folder / "home", free_port(), settings)
    try:
        stack.up()
        yield FaultyStack(stack, folder / "armed")
    finally:
        stack.end()


@pytest.fixture
def faulty(running: FaultyStack) -> Iterator[FaultyStack]:
    """The stack, with every point unarmed before and checked after."""
    running.folder.mkdir(exist_ok=True)
    for path in running.folder.iterdir():
        path.unlink()
    running.stack.until_all_run()
    yield running
    for path in running.folder.glob("*.taken.*"):
        _let_go(int(path.name.rpartition(".")[2]))
    running.check()


def _let_go(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)
