"""One cutoff for all searches, on the cosine and on the relevance of a calibrated one: `bench/relevance.py` at work."""

import json
import statistics
import subprocess
import sys
from typing import Any

from bench.figure import Figure
from bench.lab import Lab
from bench.samples import Samples
from bench.stack import plain_environment
from local.settings import REPOSITORY

ABOUT = "starter-clip on its catalogue; cutoffs chosen on one half of the keywords, used on the other"


def measure(lab: Lab) -> list[Figure]:
    """F1 over queries of four kinds, and over those of one kind alone; in a process of its own, which loads torch."""
    with lab.track("calibration", 1) as step:
        answer = subprocess.run(
            [sys.executable, "-m", "bench.relevance", str(lab.rounds)],
            cwd=REPOSITORY,
            env=plain_environment(),
            check=True,
            capture_output=True,
            text=True,
        )
        step()
    return figures_of(json.loads(answer.stdout))


def figures_of(results: dict[str, Any]) -> list[Figure]:
    """What `bench.relevance` printed, as lines of the table."""
    splits = results["splits"]

    def samples(which: str, score: str, label: str) -> Samples:
        return Samples(label, "% F1", [100 * split[which][score] for split in splits])

    def cutoff(which: str, score: str) -> float:
        return float(statistics.median(split[which][f"{score} cutoff"] for split in splits))

    def figure(which: str, name: str, note: str) -> Figure:
        return Figure(
            name,
            samples(which, "relevance", "one relevance for all"),
            [samples(which, "cosine", "one cosine for all"), samples(which, "z", "one Phi(z)^n for all")],
            note=f"{note}; cutoffs: relevance {cutoff(which, 'relevance'):.2f}, cosine {cutoff(which, 'cosine'):.2f}",
        )

    own = f"each query its own best cutoff: {100 * results['own cutoffs']:.1f} %"
    return [
        figure("all", "calibration, queries of four kinds", f"{ABOUT}; {own}"),
        figure("texts", "calibration, single words only", ABOUT),
    ]
