"""`darkroom status` for people."""

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

WIDTHS = (16, 10, 9, 10)


def status_table(shown: dict[str, Any], home: Path) -> str:
    """One line a process, then where everything is. Passwords are not shown; `--json` gives them."""
    if not shown["processes"] or shown["supervisor"] is None:
        left = [process["role"] for process in shown["processes"] if process["pid"]]
        note = f" Left over: {', '.join(left)}; `darkroom down` stops them." if left else ""
        return f"Nothing runs in {home}.{note}"
    lines = [_row("PROCESS", "STATE", "PID", "RESTARTS", "SINCE")]
    for process in shown["processes"]:
        since = _ago(process["since"])
        lines.append(_row(process["role"], process["state"], process["pid"] or "-", process["restarts"], since))
    lines.append("")
    lines += [f"{name:<9} {without_password(url)}" for name, url in shown["urls"].items()]
    lines.append(f"{'logs':<9} {home / 'logs'}")
    return "\n".join(lines)


def without_password(url: str) -> str:
    """`redis://:secret@host` as `redis://:***@host`."""
    return re.sub(r"(://[^/@:]*:)[^@/]+@", r"\1***@", url)


def _row(*cells: object) -> str:
    return "".join(f"{cell!s:<{width}}" for cell, width in zip(cells, (*WIDTHS, 0), strict=True)).rstrip()


def _ago(moment: str | None) -> str:
    if moment is None:
        return "-"
    seconds = int((datetime.now(UTC) - datetime.fromisoformat(moment)).total_seconds())
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{max(seconds, 0)} s"
