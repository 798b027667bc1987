"""Results as a table to read and as JSON to keep."""

import json
import os
import platform
import statistics
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.figure import Figure, Mark
from bench.samples import Samples

SYNCS = 51
_COLOURS = {Mark.AIM: "green", Mark.BAR: "yellow", Mark.SHORT: "red", Mark.NONE: "dim"}


def machine() -> dict[str, Any]:
    """What the figures depend on, in neutral words."""
    return {
        "cores": os.cpu_count(),
        "cpu": _cpu_name(),
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "python": platform.python_version(),
        "load_before": round(os.getloadavg()[0], 2),
        "disk_sync_ms": round(1_000 * _disk_sync_seconds(), 2),
    }


def _disk_sync_seconds() -> float:
    """Median of writing a page and having it on the disk, where the servers will keep their data: the price of a
    COMMIT, which differs more between machines (and hours) than anything else here."""
    sync = getattr(os, "fdatasync", os.fsync)  # macOS has no fdatasync
    seconds = []
    with tempfile.TemporaryFile() as file:
        for _ in range(SYNCS):
            started = time.perf_counter()
            os.pwrite(file.fileno(), bytes(8_192), 0)
            sync(file.fileno())
            seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def as_json(figures: list[Figure], about: dict[str, Any], *, quick: bool) -> dict[str, Any]:
    return {
        "finished_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "quick": quick,
        "machine": about,
        "figures": [figure.as_json() for figure in figures],
    }


def write_json(results: dict[str, Any], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=2) + "\n")


def print_table(console: Console, figures: list[Figure], about: dict[str, Any], *, quick: bool) -> None:
    title = f"{about['cores']} cores ({about['cpu']}), disk sync {about['disk_sync_ms']} ms, load before "
    title += f"{about['load_before']}" + (", quick" * quick)
    table = Table("figure", "measured", "beside", "bar / aim", "", title=title, show_lines=True)
    for figure in figures:
        colour = _COLOURS[figure.mark]
        beside = "\n".join(_beside(figure.samples, other) for other in figure.beside)
        name = figure.name + (f"\n[dim]{figure.note}[/dim]" if figure.note else "")
        measured = f"[bold]{shown(figure.samples)}[/bold]"
        table.add_row(name, measured, beside, _goals(figure), f"[{colour}]{figure.mark.value}[/{colour}]")
    console.print(table)


def shown(samples: Samples) -> str:
    """Median, unit and spread."""
    value = samples.median
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:,.{digits}f} {samples.unit} ±{samples.spread:.0%}"


def _beside(ours: Samples, other: Samples) -> str:
    ratio = f" (x{ours.over(other, '').median:.2f})" if ours.unit != "x" and other.median else ""
    return f"{other.label} {shown(other)}{ratio}"


def _goals(figure: Figure) -> str:
    sign = ">=" if figure.higher_is_better else "<="
    goals = [f"{sign} {goal:,g}" for goal in (figure.bar, figure.aim) if goal is not None]
    return " / ".join(goals)


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown"
    name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return name or platform.machine()
