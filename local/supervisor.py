"""Starts the stack, keeps it running, and stops it in order.

One thread, on purpose: the kernel ties the death of children to the thread that started them.
"""

import signal
import time
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from types import FrameType

from local import children
from local.child import Child, Spec
from local.children import ChildFailed, Identity
from local.home import Home
from local.layout import Layout
from local.state import StackState

TICK_SECONDS = 0.05
MIGRATION_SECONDS = 600.0

Report = Callable[[str], None]


class StopRequested(Exception):
    """A signal asked for the end while the stack was still starting."""


class Supervisor:
    """The stack of one state folder, whose lock the caller holds."""

    def __init__(self, home: Home, layout: Layout, report: Report) -> None:
        self._home = home
        self._layout = layout
        self._report = report
        self._children: list[Child] = []
        self._stops = 0
        self.state = StackState(Identity.of_this_process(), urls=layout.urls)

    def run(self, when_up: Callable[[], None]) -> None:
        """Start all, call `when_up`, keep all running until SIGINT or SIGTERM, stop all.

        Raises:
            ChildFailed: something did not come up; everything is stopped again by then.
        """
        previous = {number: signal.signal(number, self._on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            self._run(when_up)
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _run(self, when_up: Callable[[], None]) -> None:
        phase = "stopped"
        self._save()
        try:
            self._start_all()
            self.state.phase = "running"
            self._save()
            when_up()
            while not self._stops:
                self._tick(may_fail=False)
        except StopRequested:
            pass
        except BaseException:
            phase = "failed"
            raise
        finally:
            self._stop_all()
            self.state.phase = phase
            self._save()

    def _start_all(self) -> None:
        self._start(self._layout.servers)
        self._migrate()
        self._start(self._layout.services)

    def _start(self, specs: Sequence[Spec]) -> None:
        """Start all of `specs` together and wait until each is ready."""
        begun = time.monotonic()
        fresh = [Child(spec, self._home.log(spec.role)) for spec in specs]
        self._children += fresh
        self.state.processes += [child.state for child in fresh]
        announced: set[str] = set()
        for child in fresh:
            child.start()
        self._save()
        while not all(child.is_running for child in fresh):
            self._tick(may_fail=True)
            for child in fresh:
                if child.is_running and child.spec.role not in announced:
                    announced.add(child.spec.role)
                    self._report(f"  {child.spec.role:<14} ready after {time.monotonic() - begun:.1f} s")

    def _migrate(self) -> None:
        log = self._home.log("migrations")
        begun = time.monotonic()
        process = children.spawn(
            self._layout.migration, log=log, env=self._layout.process_environment, death_signal=signal.SIGTERM
        )
        try:
            while process.poll() is None and time.monotonic() - begun < MIGRATION_SECONDS:
                self._tick(may_fail=True)
        finally:
            children.stop(process, signal.SIGTERM, 10)
        if process.returncode:
            raise ChildFailed(f"The database could not be migrated.\n{children.tail(log)}")
        self._report(f"  {'tables':<14} ready after {time.monotonic() - begun:.1f} s")

    def _tick(self, *, may_fail: bool) -> None:
        """Look at every child once, then rest a moment."""
        if self._stops and may_fail:
            raise StopRequested
        changed = False
        for child in self._children:
            restarts = child.state.restarts
            if child.look():
                changed = True
            if child.state.restarts > restarts:
                self._tell_of_death(child, may_fail=may_fail)
            if child.is_late:
                if may_fail:
                    raise ChildFailed(f"{child.spec.role} is not ready.\n{children.tail(child.log)}")
                child.signal(signal.SIGKILL)
        if changed:
            self._save()
        time.sleep(TICK_SECONDS)

    def _tell_of_death(self, child: Child, *, may_fail: bool) -> None:
        role, how = child.spec.role, how_it_ended(child.state.exit_code)
        if not child.backoff.is_loop:
            self._report(f"  {role} {how}; it is started again")
            return
        text = f"{role} {how}, {child.backoff.deaths} times in a row. The end of its log:\n{children.tail(child.log)}"
        if may_fail:
            raise ChildFailed(text)
        self._report(f"  {text}")

    def _stop_all(self) -> None:
        """Stage by stage; whoever does not end in its time is killed. A second signal shortens the time."""
        self.state.phase = "stopping"
        self._save()
        by_stage = sorted(self._children, key=lambda child: child.spec.stop_stage)
        for _, stage in groupby(by_stage, key=lambda child: child.spec.stop_stage):
            self._stop(list(stage))
        self._save()

    def _stop(self, stage: list[Child]) -> None:
        begun, hurried = time.monotonic(), self._stops > 1
        for child in stage:
            child.signal(child.spec.hurry_signal if hurried else child.spec.stop_signal)
        left, killed = stage, set[str]()
        while left := _alive(left):
            if self._stops > 1 and not hurried:
                hurried = True
                for child in left:
                    child.signal(child.spec.hurry_signal)
            for child in left:
                if time.monotonic() - begun > child.spec.stop_seconds and child.spec.role not in killed:
                    killed.add(child.spec.role)
                    self._report(f"  {child.spec.role} did not end in {child.spec.stop_seconds:.0f} s and is killed")
                    child.signal(signal.SIGKILL)
            time.sleep(TICK_SECONDS)
        for child in stage:
            child.mark_stopped()

    def _save(self) -> None:
        self.state.save(self._home)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._stops += 1


def how_it_ended(code: int | None) -> str:
    """An exit code in words."""
    if code is None:
        return "ended"
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"


def _alive(some: Iterable[Child]) -> list[Child]:
    return [child for child in some if not child.has_ended()]
