"""`demo-report.html`: everything that the demo saw, in one file that needs no other."""

import base64
from collections.abc import Mapping
from functools import partial
from html import escape
from pathlib import Path
from statistics import median

from local.demo import report_finds
from local.demo.claims import AMONG_FIRST
from local.demo.facts import Claim, Facts, IndexRun, KillRun, Result, Search
from local.demo.figure import figure
from local.demo.stack import LEASE_SECONDS

STYLE = Path(__file__).with_name("report.css")
STAGES = {
    "start": "Start the stack, from nothing",
    "index": "Index the catalogue",
    "search": "Search",
    "combine": "Search with weights and filters",
    "tag": "Tag a directory, twice",
    "duplicates": "Look for copies in a directory",
    "kill": "Index again, with a SIGKILL in the middle",
    "stop": "Drain and stop everything",
}


def write_report(facts: Facts, pictures: Mapping[str, Path], path: Path) -> Path:
    """Write the report; `pictures` are the files to show, by item id. Answers its absolute path."""
    path = path.expanduser().resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(render(facts, pictures), encoding="utf-8")
    return path


def render(facts: Facts, pictures: Mapping[str, Path]) -> str:
    """The whole document."""
    parts = [_head(facts), _tiles(facts)]
    if facts.searches:
        parts.append(_searches(facts.searches, pictures))
    show = partial(_image, pictures=pictures)
    parts += [
        report_finds.combined(facts.weighted, facts.filtered, show),
        report_finds.tags(facts.tags, show),
        report_finds.duplicates(facts.duplicates, show),
    ]
    if facts.kill:
        parts.append(_kill(facts.kill))
    parts += [_claims(facts.claims), _times(facts), _foot(facts)]
    body = "\n".join(parts)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>Darkroom: demo report</title>\n'
        f"<style>\n{STYLE.read_text(encoding='utf-8')}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def _head(facts: Facts) -> str:
    failed = sum(not claim.held for claim in facts.claims)
    missed = f"{failed} claim{'s' if failed > 1 else ''} did not hold" if failed else "The demo broke off"
    verdict, css = ("Every claim held", "good") if facts.passed else (missed, "bad")
    problem = f'<p class="lead">{escape(facts.problem)}</p>' if facts.problem else ""
    return f"""<header>
<span class="verdict {css}">{verdict}</span>
<h1>Darkroom, shown on one machine</h1>
<p class="soft lead">Pictures are indexed, searched, tagged and compared through the public HTTP API of a stack started
for this run, and a worker is killed in the middle of its work.</p>{problem}
</header>"""


def _tiles(facts: Facts) -> str:
    tiles: list[tuple[str, str]] = []
    if run := facts.index:
        tiles.append((f"{run.in_collection:,}", f"pictures indexed by {run.jobs} jobs"))
        tiles.append((f"{_rate(run):,.0f} / s", "pictures, the wait for the workers to start included"))
    if facts.searches:
        tiles.append((_milliseconds(median(search.seconds for search in facts.searches)), "a search, median"))
    if facts.tags:
        tiles.append((f"{facts.tags.tagged:,}", f"pictures of a directory tagged in {facts.tags.seconds:.1f} s"))
    if facts.duplicates:
        tiles.append(
            (f"{sum(facts.duplicates.found.values())}", f"copies found among {facts.duplicates.pictures} files")
        )
    if kill := facts.kill:
        ended = sum(job.status == "succeeded" for job in kill.jobs)
        tiles.append((f"{ended} of {len(kill.jobs)}", f"jobs ended once; {len(kill.held)} lost their worker"))
    inside = "".join(f'<div class="card"><b>{value}</b><span class="soft">{what}</span></div>' for value, what in tiles)
    return f'<section class="tiles">{inside}</section>'


def _searches(searches: list[Search], pictures: Mapping[str, Path]) -> str:
    cards = "\n".join(_search(search, pictures) for search in searches)
    return f"""<section>
<h2>Searches</h2>
<p class="soft lead">Best hits from left to right, with cosine scores. The model sees pixels only; green are those whose
catalogued name or keywords answer the words. One of them has to be among the first {AMONG_FIRST}, and an item's own
picture has to find that item first. Times are from sending the request to having the answer.</p>
{cards}
</section>"""


def _search(search: Search, pictures: Mapping[str, Path]) -> str:
    if search.by == "text":
        title = f"<b>“{escape(search.query)}”</b>"
    else:
        title = f'{_image(search.query, pictures)}<b>This picture</b> <span class="soft">{escape(search.query)}</span>'
    inside = f"<br>{_milliseconds(search.run_seconds)} in the worker" if search.run_seconds is not None else ""
    hits = "".join(_hit(result, pictures) for result in search.results)
    return f"""<article class="card search">
<header>{title}<span class="time">{_milliseconds(search.seconds)}{inside}</span></header>
<ol class="hits">{hits}</ol>
</article>"""


def _hit(result: Result, pictures: Mapping[str, Path]) -> str:
    css = ' class="expected"' if result.expected else ""
    name = f'<span class="name">{escape(result.name)}</span>'
    return f'<li{css}>{_image(result.id, pictures)}{name}<span class="score">{result.score:.3f}</span></li>'


def _image(id: str, pictures: Mapping[str, Path]) -> str:
    """A picture inside the document."""
    if id not in pictures:
        return ""
    data = base64.b64encode(pictures[id].read_bytes()).decode()
    return f'<img alt="{escape(id)}" src="data:image/webp;base64,{data}">'


def _kill(run: KillRun) -> str:
    moments = [
        (0.0, "", f"{len(run.jobs)} jobs with {run.pictures:,} pictures are accepted, in one transaction"),
        (
            run.killed_at,
            "killed",
            f"SIGKILL to {escape(run.role)}, pid {run.pid}, and the {len(run.with_children)} processes of its pool",
        ),
        (
            run.killed_at,
            "",
            f"{run.ended_before} jobs had ended, {run.queued} were waiting, and {len(run.held)} were being worked on: "
            "nothing was said to anybody about those",
        ),
        (run.back_at, "", f"{escape(run.role)} is back: the supervisor has started it again, as pid {run.new_pid}"),
        (
            run.taken_over_at,
            "",
            f"the leases of the {len(run.held)} jobs have run out, and the first of them is taken over by a new worker",
        ),
        (run.seconds, "", f"every job has ended, and {run.in_collection:,} pictures are in the collection"),
    ]
    known = [(at, css, text) for at, css, text in moments if at is not None]
    lines = "".join(
        f'<li><time>{at:.2f} s</time><span class="{css}">{text}</span></li>'
        for at, css, text in sorted(known, key=lambda moment: moment[0])
    )
    return f"""<section>
<h2>A worker is killed</h2>
<p class="soft lead">The catalogue is indexed once more, into another collection. A job is held by a lease of
{LEASE_SECONDS} s here (60 s in production), which the worker's heartbeat extends. A dead worker extends nothing, so its
jobs are run again by somebody else.</p>
<div class="card">
<ol class="story">{lines}</ol>
{figure(run)}
<p class="soft">{_effects(run)}</p>
</div>
</section>"""


def _effects(run: KillRun) -> str:
    """What the attempts that were cut off had written already."""
    skipped = sum(job.skipped for job in run.jobs)
    if not skipped:
        return "The attempts that were cut off had written nothing yet; the second ones wrote every picture once."
    return (
        f"The attempts that were cut off had written {skipped} pictures already. The second ones found these unchanged "
        "and skipped them: none is there twice."
    )


def _claims(claims: list[Claim]) -> str:
    rows = "".join(
        f'<tr class="{"good" if claim.held else "bad"}"><td class="mark">{"✓" if claim.held else "✗"}</td>'
        f'<td>{escape(claim.text)}</td><td class="soft wide">{escape(claim.detail)}</td></tr>'
        for claim in claims
    )
    return f'<section>\n<h2>Claims, and what was seen</h2>\n<div class="card"><table>{rows}</table></div>\n</section>'


def _times(facts: Facts) -> str:
    longest = max(facts.stages.values(), default=1.0) or 1.0
    rows = "".join(
        f'<tr><td>{escape(STAGES.get(name, name))}</td><td class="number">{seconds:.1f} s</td>'
        f'<td class="wide"><span class="bar" style="width: {100 * seconds / longest:.1f}%"></span></td></tr>'
        for name, seconds in facts.stages.items()
    )
    total = f'<tr><td><b>All of it</b></td><td class="number"><b>{facts.total_seconds:.1f} s</b></td><td></td></tr>'
    return f'<section>\n<h2>Where the time went</h2>\n<div class="card"><table>{rows}{total}</table></div>\n</section>'


def _foot(facts: Facts) -> str:
    machine = facts.machine
    load = f", load {machine.load} as it began" if machine.load is not None else ""
    busy = " Other work was taking its cores, so times are longer than they need be." if machine.is_busy else ""
    sources = ""
    if facts.index:
        sources = f" {facts.index.by_url:,} pictures were fetched by URL, the others came inline."
    return f"""<footer>
<p>{machine.cores} cores, {escape(machine.system)}, Python {escape(machine.python)}{load}.{busy}{sources}</p>
<p>Pictures: Fluent Emoji (3D), © Microsoft, MIT License. The starter model has never seen them: it was trained on
other drawings.</p>
</footer>"""


def _rate(run: IndexRun) -> float:
    return run.indexed / run.seconds if run.seconds else 0.0


def _milliseconds(seconds: float | None) -> str:
    return "–" if seconds is None else f"{seconds * 1000:.0f} ms"
