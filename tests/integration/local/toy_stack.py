"""A supervisor over toy processes, to be run as a process of its own: `python toy_stack.py HOME SCENE`."""

import sys
from pathlib import Path

from local.child import Spec
from local.children import ChildFailed
from local.home import Home
from local.layout import Layout
from local.orphans import stop_orphans
from local.state import StackState
from local.supervisor import Supervisor

SLEEPER = "import time; print('up', flush=True); time.sleep(600)"
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
)
NEST = "import subprocess, sys, time; subprocess.Popen(['sleep', '600']); print('up', flush=True); time.sleep(600)"
DYING = "import sys; print('no such luck', flush=True); sys.exit(7)"


def toy(role: str, code: str, *, stage: int = 1, stop_seconds: float = 20.0) -> Spec:
    command = [sys.executable, "-c", code]
    said = b"up" if code != DYING else b"never"
    return Spec(
        role,
        command,
        ready=lambda run: said in run.log.read_bytes()[run.offset :],
        stop_stage=stage,
        stop_seconds=stop_seconds,
    )


def layout(scene: str) -> Layout:
    services = {
        "calm": [toy("one", SLEEPER), toy("two", SLEEPER, stage=0)],
        "nest": [toy("nest", NEST)],
        "stubborn": [toy("stubborn", STUBBORN, stop_seconds=1.0)],
        "stubborn-for-long": [toy("stubborn", STUBBORN)],
        "dying": [toy("dying", DYING)],
        "bad-migration": [toy("one", SLEEPER)],
    }[scene]
    migration = [sys.executable, "-c", "import sys; sys.exit('no table')" if scene == "bad-migration" else "pass"]
    return Layout([toy("server", SLEEPER, stage=3)], migration, services, {}, {}, {"api": "http://127.0.0.1:1"})


def main() -> int:
    home = Home(Path(sys.argv[1]))
    home.prepare()
    with home.owned():
        for role in stop_orphans(StackState.read(home)):
            print("orphan", role, flush=True)
        try:
            Supervisor(home, layout(sys.argv[2]), lambda line: print(line, flush=True)).run(
                lambda: print("all is up", flush=True)
            )
        except ChildFailed as error:
            print("failed:", error, flush=True)
            return 1
    print("stopped", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
