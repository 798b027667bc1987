"""The demo's own stack: in a folder and on ports of its own, started as a person would and stopped again."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import psutil

from local import children, probes
from local.children import Identity
from local.demo.errors import DemoFailed
from local.demo.library import ROOT
from local.demo.serving import HOST
from local.environment import process_environment
from local.home import Home
from local.orphans import stop_orphans
from local.sockets import free_port, socket_folder
from local.state import ProcessState, StackState

START_SECONDS = 180.0
STOP_SECONDS = 120.0
LEASE_SECONDS = 5
"""How long a job that lost its worker waits to be taken over. In production 60; here people are watching."""


class DemoStack:
    """One embedded stack as a child process."""

    def __init__(self) -> None:
        self.home = Home(Path(tempfile.mkdtemp(prefix="darkroom-demo-")).resolve())
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._seen: dict[Identity, str] = {}

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    def start(self) -> None:
        """Start it and come back at once."""
        self.home.prepare()
        env = environment(self.home, self.port)
        if socket_folder(self.home.folder).is_relative_to(self.home.folder):
            # What a killed worker leaves in the folder for temporary files then goes with the rest.
            env["TMPDIR"] = str(self.home.folder)
        # Should this process be killed, the kernel tells the supervisor to stop the stack.
        self._process = children.spawn(
            [sys.executable, "-m", "local.stack"], log=self._log, env=env, death_signal=signal.SIGTERM
        )
        self._note("supervisor", Identity.of(self._process.pid))

    def wait_for_api(self, progress: Callable[[int, int], None]) -> None:
        """Wait until the API answers. The workers may still be loading their models: jobs wait for them."""
        deadline = time.monotonic() + START_SECONDS
        while not probes.answers(HOST, self.port, "/health/ready"):
            self.check()
            state = StackState.read(self.home)
            if state:
                running = [process for process in state.processes if process.state == "running"]
                progress(len(running), len(state.processes))
            if time.monotonic() > deadline:
                raise DemoFailed(f"The API did not answer within {START_SECONDS:.0f} s.\n{children.tail(self._log)}")
            time.sleep(0.05)

    def check(self) -> None:
        """Raises DemoFailed when the supervisor has ended by itself."""
        if self._process is None or self._process.poll() is not None:
            raise DemoFailed(f"The stack has ended by itself.\n{children.tail(self._log)}")

    def process(self, role: str) -> ProcessState:
        """How a process of the stack stands, as `darkroom status` would say."""
        state = StackState.read(self.home)
        for process in state.processes if state else []:
            if process.role == role:
                return process
        raise DemoFailed(f"The stack has no process {role!r}.")

    def note_processes(self) -> None:
        """Remember every process that the stack has now, to be able to say later that all of them ended."""
        state = StackState.read(self.home)
        for process in state.processes if state else []:
            if process.identity and process.is_alive():
                self._note(process.role, process.identity)

    def stop(self) -> None:
        """Drain and stop; a Ctrl-C meanwhile shortens the drain."""
        if self._process is None:
            return
        self.note_processes()
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        while self._process.poll() is None and time.monotonic() < deadline:
            try:
                time.sleep(0.02)
            except KeyboardInterrupt:
                self._process.send_signal(signal.SIGTERM)
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        if self.left_running():  # the supervisor was killed, then: here, or by somebody else
            stop_orphans(StackState.read(self.home))

    @property
    def pids(self) -> dict[int, str]:
        return {identity.pid: role for identity, role in self._seen.items()}

    def left_running(self) -> list[int]:
        """Pids of the stack that still run."""
        return [identity.pid for identity in self._seen if identity.process() is not None]

    def remove(self) -> None:
        """The state folder, and that of the sockets where the path of the first was too long for them."""
        for folder in (socket_folder(self.home.folder), self.home.folder):
            shutil.rmtree(folder, ignore_errors=True)

    @property
    def _log(self) -> Path:
        return self.home.log("supervisor")

    def _note(self, role: str, identity: Identity) -> None:
        self._seen.setdefault(identity, role)
        with contextlib.suppress(psutil.NoSuchProcess):
            for child in psutil.Process(identity.pid).children() if role != "supervisor" else []:
                self._seen.setdefault(Identity(child.pid, child.create_time()), f"{role} (child)")


def pictures_of(home: Home) -> Path:
    """The folder that the stack may read pictures from."""
    return home.folder / "pictures"


def environment(home: Home, port: int, user: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The stack's environment. The user's own settings stay out of it: they are about another stack."""
    rest = {name: value for name, value in user.items() if not name.startswith("DARKROOM_")}
    own = {
        "DARKROOM_HOME": str(home.folder),
        "DARKROOM_PORT": str(port),
        # The demo tells one story on every machine; the starter model has no need of a GPU.
        "DARKROOM_DEVICE": "cpu",
        "DARKROOM_FETCH_ALLOW": f'["{HOST}"]',
        "DARKROOM_IMAGE_ROOTS": json.dumps({ROOT: str(pictures_of(home))}),
        "DARKROOM_LEASE_SECONDS": str(LEASE_SECONDS),
        "DARKROOM_DRAIN_SECONDS": "10",
    }
    return process_environment(own, user=rest)
