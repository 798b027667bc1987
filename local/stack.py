"""One embedded stack from its settings to its end; `python -m local.stack` is what `darkroom up --detach` leaves."""

import sys
from collections.abc import Callable
from pathlib import Path

from local.home import Home
from local.layout import plan
from local.orphans import stop_orphans
from local.settings import StackSettings
from local.sockets import port_is_free
from local.state import StackState
from local.supervisor import Report, Supervisor
from shared.errors import ConfigurationError, DarkroomError
from shared.settings import load


def home_of(settings: StackSettings) -> Home:
    return Home(Path(settings.home).expanduser().resolve())


def run_stack(settings: StackSettings, report: Report, when_up: Callable[[], None]) -> None:
    """Run the stack until a signal ends it.

    Raises:
        AlreadyRunning: another process runs it.
        ConfigurationError: a setting stands in the way.
        ChildFailed: a process did not come up.
    """
    home = home_of(settings)
    home.prepare()
    with home.owned():
        for role in stop_orphans(StackState.read(home)):
            report(f"  {role} was left over from a stack that was killed; it is stopped")
        if not port_is_free(settings.port):
            raise ConfigurationError(
                f"DARKROOM_PORT: something else listens on port {settings.port}; choose another one, for example "
                f"DARKROOM_PORT={settings.port + 1}."
            )
        Supervisor(home, plan(settings, home, home.secrets()), report).run(when_up)


def main() -> int:
    """Detached: reports go to stdout, which is the supervisor's log."""

    def report(line: str) -> None:
        print(line, flush=True)

    try:
        run_stack(load(StackSettings), report, lambda: report("  all is up"))
    except DarkroomError as error:
        report(str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
