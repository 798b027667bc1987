"""The bar of `make install`, from pip's own words."""

import subprocess
import sys
from pathlib import Path

from local import install_progress
from local.install_progress import Progress

LINES = [
    "Collecting torch==2.13.0 (from darkroom-server==0.1.0)",
    "  Downloading torch-2.13.0-cp311.whl (190.0 MB)",
    "Progress 95000000 of 190000000",
]


def test_it_counts_packages_and_shows_a_large_download() -> None:
    progress = Progress(total=4)
    for line in LINES:
        progress.read(line, now=0.0)
    assert progress.current == "torch 95 of 190 MB"
    assert 0 < progress.fraction(0.0) < 0.25


def test_it_never_falls_and_never_ends_early() -> None:
    progress = Progress(total=2)
    seen = []
    for number in range(5):  # more than were expected
        progress.read(f"Collecting package-{number}", now=0.0)
        seen.append(progress.fraction(0.0))
    progress.read("Installing collected packages: a, b, c", now=0.0)
    assert progress.current == "unpacking 3 packages"
    seen += [progress.fraction(now) for now in (0.0, 1.0, 60.0, 10_000.0)]
    assert seen == sorted(seen)
    assert seen[-1] < 1


def test_a_line_fits_the_terminal() -> None:
    assert len(Progress(total=2, current="x" * 200).bar(0.0, 1.0, 60)) == 60


def test_the_exit_code_and_the_end_of_the_output_are_the_commands(tmp_path: Path) -> None:
    script = Path(install_progress.__file__)
    failing = [sys.executable, "-c", "print('Collecting a'); print('no such package'); raise SystemExit(4)"]
    command = [sys.executable, str(script), "3", str(tmp_path / "log"), *failing]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 4
    assert "no such package" in done.stdout
