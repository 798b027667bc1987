"""The server's verbs on the command line: `darkroom up`, `down`, `status`, `env`, `demo`.

Heavy imports stand in the functions: `darkroom status` answers at once.
"""

import json
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from local.children import Identity, tail
from local.environment import process_environment
from local.home import AlreadyRunning, Home
from local.settings import StackSettings
from local.stack import home_of, run_stack
from local.state import StackState, report
from shared.errors import DarkroomError
from shared.settings import load

NOT_RUNNING = 3
"""Exit code of `status` when not everything runs."""
UP_SECONDS = 300.0
DOWN_SECONDS = 120.0


class CommandFailed(DarkroomError):
    """A verb could not do what it says."""


def up(
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Leave it running in the background.")] = False,
) -> None:
    """Start Postgres, Valkey, API, workers, sweeper and Flower on this machine, on loopback only."""
    settings = load(StackSettings)
    home = home_of(settings)
    try:
        if detach:
            _up_detached(settings, home)
            return
        print(f"Starting Darkroom in {home.folder} (Ctrl-C stops it)")
        run_stack(settings, _say, lambda: _greet(settings, home, "Ctrl-C drains and stops it."))
        print("Stopped.")
    except AlreadyRunning as error:
        print(f"{error} `darkroom down` stops it.")
        state = StackState.read(home)
        if state is not None and "api" in state.urls:
            print(f"  API     {state.urls['api']}\n  Flower  {state.urls['flower']}")
        raise typer.Exit(0 if detach else 1) from None


def down() -> None:
    """Drain and stop the stack."""
    from local.orphans import stop_orphans

    home = home_of(load(StackSettings))
    state = StackState.read(home)
    supervisor = state.supervisor.process() if state else None
    if state is None or supervisor is None:
        left = stop_orphans(state)
        print(f"Stopped {', '.join(left)}." if left else f"Nothing runs in {home.folder}.")
        return
    supervisor.send_signal(signal.SIGTERM)
    print("Draining and stopping …", flush=True)
    deadline = time.monotonic() + DOWN_SECONDS
    while state.is_supervised:
        if time.monotonic() > deadline:
            raise CommandFailed(f"The stack did not stop within {DOWN_SECONDS:.0f} s.\n{tail(home.log('supervisor'))}")
        time.sleep(0.05)
    print("Stopped.")


def status(
    as_json: Annotated[bool, typer.Option("--json", help="For programs: processes and URLs.")] = False,
) -> None:
    """Say what runs, and where. Exit code 0: all of it; 3: not all."""
    from local.printing import status_table

    home = home_of(load(StackSettings))
    state = StackState.read(home)
    shown = report(state)
    print(json.dumps(shown, indent=2) if as_json else status_table(shown, home.folder))
    if state is None or not state.all_running:
        raise typer.Exit(NOT_RUNNING)


def env() -> None:
    """Print the running stack's settings for a shell: eval "$(darkroom env)"."""
    from local.layout import running_environment

    settings = load(StackSettings)
    home = home_of(settings)
    state = StackState.read(home)
    if state is None or not state.is_supervised:
        raise CommandFailed(f"Nothing runs in {home.folder}; start it with `darkroom up`.")
    for name, value in running_environment(settings, home, state.urls).items():
        print(f"export {name}={shlex.quote(value)}")


def demo(
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the facts for programs; the rest goes to stderr.")
    ] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the stack's folder: its data and its logs.")] = False,
    report_file: Annotated[Path, typer.Option("--report", help="Where to write the report.")] = Path(
        "demo-report.html"
    ),
) -> None:
    """Index a catalogue of pictures, search it, kill a worker in the middle, and show that nothing was lost."""
    from local.demo import run_demo

    raise typer.Exit(run_demo(as_json=as_json, keep=keep, report=report_file))


def _up_detached(settings: StackSettings, home: Home) -> None:
    home.prepare()
    with home.owned():  # says at once that it is running; the new supervisor takes the lock next
        pass
    log = home.log("supervisor")
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "local.stack"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=process_environment({}),
            start_new_session=True,
        )
    print(f"Starting Darkroom in {home.folder}", flush=True)
    supervisor = Identity.of(process.pid)
    try:
        _wait_for(process, home)
    except BaseException:
        # A Ctrl-C here, too, means that no stack is wanted.
        if supervisor.process():
            process.terminate()
            process.wait(DOWN_SECONDS)
        raise
    _greet(settings, home, "`darkroom down` drains and stops it.")


def _wait_for(process: "subprocess.Popen[bytes]", home: Home) -> None:
    deadline = time.monotonic() + UP_SECONDS
    while True:
        state = StackState.read(home)
        if state and state.supervisor.pid == process.pid and state.phase == "running":
            return
        if process.poll() is not None or time.monotonic() > deadline:
            raise CommandFailed(f"The stack did not start.\n{tail(home.log('supervisor'), 40)}")
        time.sleep(0.05)


def _greet(settings: StackSettings, home: Home, how_to_stop: str) -> None:
    from local.greeting import greeting

    print(greeting(settings, home, how_to_stop), flush=True)


def _say(line: str) -> None:
    print(line, flush=True)
