"""A worker that could not run anything does not start, and says what to mend."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


def start(tmp_path: Path, *words: str, **settings: str) -> "subprocess.CompletedProcess[str]":
    own = {name: value for name, value in os.environ.items() if not name.startswith("DARKROOM_")}
    own |= {"DARKROOM_EMBEDDED": "true", "DARKROOM_HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "workers", *words]
    return subprocess.run(
        command, env=own | settings, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"DARKROOM_MODELS_FILE": "/nowhere/models.toml"}, "/nowhere/models.toml"),
        ({"DARKROOM_STORAGE_URL": "s3://bucket"}, "s3"),
        ({"DARKROOM_EMBEDDED": "false"}, "DARKROOM_SECRET_KEY"),
        ({"DARKROOM_FETCH_THREADS": "none"}, "DARKROOM_FETCH_THREADS"),
    ],
)
def test_a_wrong_setting_stops_it_before_it_takes_work(tmp_path: Path, settings: dict[str, str], named: str) -> None:
    ended = start(tmp_path, **settings)
    assert ended.returncode == 2
    assert named in ended.stderr
    assert "Traceback" not in ended.stderr


def test_an_unknown_queue_is_refused(tmp_path: Path) -> None:
    ended = start(tmp_path, "--queues", "search,serach")
    assert ended.returncode == 2
    assert "no such queue: serach" in ended.stderr
