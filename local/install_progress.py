"""One progress bar for a long `pip install`. Runs before anything is installed, so it needs only Python itself.

    python local/install_progress.py TOTAL LOG COMMAND...

TOTAL: about how many packages there are to come. LOG: where the command's whole output goes. Without a terminal it
prints a line now and then instead of a bar.
"""

import queue
import re
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

BAR_CELLS = 30
REDRAW_SECONDS = 0.2
QUIET_SECONDS = 15.0
"""Between two lines where there is no terminal."""
INSTALLING_SHARE = 0.25
"""Of the time that all takes: pip says nothing while it unpacks."""
INSTALLING_SECONDS = 60.0
"""About how long unpacking takes; the bar slows down towards its end."""


@dataclass
class Progress:
    """What pip has said so far."""

    total: int
    collected: int = 0
    current: str = "asking the package index"
    installing_since: float | None = None

    def read(self, line: str, now: float) -> None:
        """Take in one line of pip's output (with `--progress-bar raw`)."""
        if found := re.match(r"Collecting ([\w.\[\]-]+)|Obtaining \S+?([\w.-]+)$", line):
            self.collected += 1
            self.current = (found[1] or found[2]).split("[")[0]
        elif found := re.match(r"Progress (\d+) of (\d+)", line):
            name = self.current.split(" ", 1)[0]
            self.current = f"{name} {int(found[1]) / 1e6:.0f} of {int(found[2]) / 1e6:.0f} MB"
        elif found := re.match(r"Installing collected packages: (.*)", line):
            self.installing_since = now
            self.current = f"unpacking {found[1].count(',') + 1} packages"

    def fraction(self, now: float) -> float:
        """From 0 to 1; never falls."""
        collected = min(self.collected / max(self.total, 1), 1.0) * (1 - INSTALLING_SHARE)
        if self.installing_since is None:
            return collected
        age = now - self.installing_since
        return 1 - INSTALLING_SHARE + INSTALLING_SHARE * age / (age + INSTALLING_SECONDS / 3)

    def bar(self, now: float, seconds: float, width: int) -> str:
        """One line of at most `width` characters."""
        full = round(self.fraction(now) * BAR_CELLS)
        cells = "█" * full + "░" * (BAR_CELLS - full)
        return f"  {cells} {self.fraction(now):4.0%}  {seconds:3.0f} s  {self.current}"[:width]


def main(arguments: list[str]) -> int:
    total, log, command = int(arguments[0]), Path(arguments[1]), arguments[2:]
    begun = time.monotonic()
    with log.open("w") as output:
        code = _follow(command, Progress(total), output, begun)
    if code:
        print(f"  failed; the end of {log}:", *log.read_text().splitlines()[-25:], sep="\n  ")
    else:
        print(f"  installed in {time.monotonic() - begun:.0f} s")
    return code


def _follow(command: list[str], progress: Progress, log: TextIO, begun: float) -> int:
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    lines: queue.Queue[str | None] = queue.Queue()
    threading.Thread(target=_read, args=(process, lines), daemon=True).start()
    drawn = 0.0
    try:
        while (line := _next(lines)) is not None:
            now = time.monotonic()
            if line:
                log.write(line)
                progress.read(line, now)
            if now - drawn > (REDRAW_SECONDS if sys.stdout.isatty() else QUIET_SECONDS):
                drawn = now
                _draw(progress, now, now - begun)
    except KeyboardInterrupt:
        process.terminate()
    if sys.stdout.isatty():
        print("\r\x1b[K", end="")
    return process.wait()


def _read(process: "subprocess.Popen[str]", lines: "queue.Queue[str | None]") -> None:
    assert process.stdout is not None
    for line in process.stdout:
        lines.put(line)
    lines.put(None)


def _next(lines: "queue.Queue[str | None]") -> str | None:
    """The next line, an empty one when nothing comes for a moment, None at the end."""
    try:
        return lines.get(timeout=REDRAW_SECONDS)
    except queue.Empty:
        return ""


def _draw(progress: Progress, now: float, seconds: float) -> None:
    width = shutil.get_terminal_size().columns - 1
    text = progress.bar(now, seconds, width if sys.stdout.isatty() else 200)
    print(f"\r\x1b[K{text}" if sys.stdout.isatty() else text, end="" if sys.stdout.isatty() else "\n", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
