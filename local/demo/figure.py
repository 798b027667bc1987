"""The run with the kill as a drawing: a row a job, a bar an attempt, time to the right (SVG, styled by report.css)."""

from local.demo.facts import Attempt, JobStory, KillRun

WIDTH = 1000
LEFT, RIGHT, TOP, BOTTOM = 8, 8, 22, 22
ROW, GAP = 5, 1.5
NARROWEST = 2.0


def figure(run: KillRun) -> str:
    """An `<svg>` with its legend."""
    jobs = sorted(run.jobs, key=_order)
    bottom = TOP + len(jobs) * (ROW + GAP)
    seconds = max([run.seconds, *(attempt.ended for job in jobs for attempt in job.attempts)]) or 1.0
    scale = (WIDTH - LEFT - RIGHT) / seconds
    bars = "".join(_row(job, TOP + position * (ROW + GAP), scale) for position, job in enumerate(jobs))
    lines = _line(LEFT + run.killed_at * scale, bottom, "moment", "SIGKILL")
    if run.back_at is not None:
        lines += _line(LEFT + run.back_at * scale, bottom, "back", "worker back")
    label = f"{len(jobs)} jobs over {seconds:.1f} seconds; {len(run.held)} of them were cut off by the kill"
    return (
        f'<svg viewBox="0 0 {WIDTH} {bottom + BOTTOM:.0f}" role="img" aria-label="{label}">'
        f"{_axis(seconds, bottom, scale)}{bars}{lines}</svg>{_LEGEND}"
    )


_LEGEND = (
    '<p class="legend"><span><i style="background: var(--bar)"></i>first attempt, to its end</span>'
    '<span><i style="background: var(--bad)"></i>attempt cut off by the kill</span>'
    '<span><i style="background: var(--accent)"></i>second attempt, to its end</span></p>'
)


def _order(job: JobStory) -> tuple[float, float]:
    """In the order in which they were first begun."""
    first = job.attempts[0] if job.attempts else None
    return (first.started, first.ended) if first else (0.0, 0.0)


def _row(job: JobStory, y: float, scale: float) -> str:
    return "".join(_bar(job, attempt, y, scale) for attempt in job.attempts)


def _bar(job: JobStory, attempt: Attempt, y: float, scale: float) -> str:
    css = "killed" if attempt.how == "killed" else "again" if attempt.number > 1 else "first"
    x, width = LEFT + attempt.started * scale, max(NARROWEST, (attempt.ended - attempt.started) * scale)
    title = f"{job.id}: attempt {attempt.number} {attempt.how}, {attempt.started:.2f} to {attempt.ended:.2f} s"
    return (
        f'<rect class="{css}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{ROW}" rx="1">'
        f"<title>{title}</title></rect>"
    )


def _line(x: float, bottom: float, css: str, text: str) -> str:
    """A moment; its name stands on whichever side there is room for it."""
    anchor, shift = ("start", 5) if x < WIDTH - 90 else ("end", -5)
    return (
        f'<line class="{css}" x1="{x:.1f}" x2="{x:.1f}" y1="4" y2="{bottom:.1f}"/>'
        f'<text x="{x + shift:.1f}" y="14" text-anchor="{anchor}">{text}</text>'
    )


def _axis(seconds: float, bottom: float, scale: float) -> str:
    """A mark a second, or every few of them when there are many."""
    step = next(step for step in (1, 2, 5, 10, 20, 60) if seconds / step <= 14 or step == 60)
    marks = ""
    for second in range(0, int(seconds) + 1, step):
        x = LEFT + second * scale
        anchor = "start" if second == 0 else "middle"
        marks += f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{bottom:.1f}"/>'
        marks += f'<text x="{x:.1f}" y="{bottom + 15:.1f}" text-anchor="{anchor}">{second} s</text>'
    return marks
