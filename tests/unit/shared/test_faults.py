"""Fault points: nothing in production, one strike when armed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from shared.faults import POINTS, arm, fault_point

ROOT = Path(__file__).parents[3]


def test_an_unarmed_process_passes() -> None:
    for point in POINTS:
        fault_point(point)


def test_only_known_points_can_be_armed(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such fault point"):
        arm(tmp_path, "worker.after_lunch")


def test_every_point_stands_in_the_code_and_the_other_way_round() -> None:
    code = "".join(p.read_text() for folder in ("api", "workers", "shared") for p in (ROOT / folder).rglob("*.py"))
    used = {part.partition('"')[0] for part in code.split('fault_point("')[1:]}
    assert used == set(POINTS)


def test_an_armed_point_strikes_once(tmp_path: Path) -> None:
    script = "from shared.faults import fault_point; fault_point('worker.after_claim'); print('passed')"

    def run() -> "subprocess.CompletedProcess[str]":
        environment = {**os.environ, "DARKROOM_FAULTS_DIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
        return subprocess.run(
            [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False
        )

    arm(tmp_path, "worker.after_claim")
    assert run().returncode == -9
    assert run().stdout == "passed\n"
