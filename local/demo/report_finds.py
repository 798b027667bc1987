"""The report's sections on weighted and filtered searches, tags and copies."""

from collections.abc import Callable, Sequence
from html import escape

from local.demo.facts import DuplicateGroup, DuplicateRun, FilteredSearch, Result, TaggedPicture, TagRun, WeightedSearch
from local.demo.screen import filter_text

Show = Callable[[str], str]
"""An `<img>` of the catalogue's picture with this id, or nothing."""
SHOWN_GROUPS = 8
"""Of each kind."""


def combined(weighted: WeightedSearch | None, filtered: FilteredSearch | None, show: Show) -> str:
    """Searches with weights and with a filter."""
    cards = []
    if weighted:
        wanted, unwanted = escape(weighted.wanted), escape(weighted.unwanted)
        cards.append(_card(f"“{wanted}”", f"{weighted.red_before:.0%} of the paint is red", weighted.plain, show))
        title = f"“{wanted}” × 1, “{unwanted}” × {weighted.weight:g}"
        cards.append(_card(title, f"{weighted.red_after:.0%} of the paint is red", weighted.weighted, show))
    if filtered:
        title = f"“{escape(filtered.text)}”, where {escape(filter_text(filtered))}"
        cards.append(_card(title, f"{len(filtered.outside)} hits outside the filter", filtered.results, show))
    if not cards:
        return ""
    return f"""<section>
<h2>Weights and filters</h2>
<p class="soft lead">A query may ask for one thing and against another: texts, pictures and items, each with a weight.
How red the hits are is measured on their pixels, not asked of the model. A filter looks at what an application stored
with each item, and is applied while the store searches.</p>
{"".join(cards)}
</section>"""


def tags(run: TagRun | None, show: Show) -> str:
    """A tagged directory, and the statistics of its tags."""
    if run is None:
        return ""
    failed = "".join(f"<p class='soft'>Not tagged: {escape(reason)}</p>" for reason in run.failed)
    samples = "".join(_sample(sample, show) for sample in run.samples)
    statistics = "".join(
        f'<tr><td>{escape(entry.tag)}</td><td class="number">{entry.count}</td>'
        f'<td class="number">{entry.mean_score:.2f}</td></tr>'
        for entry in run.statistics
    )
    share = f"{run.right} of {run.judged} ({run.right / run.judged:.0%})" if run.judged else "none"
    return f"""<section>
<h2>A directory, tagged</h2>
<p class="soft lead">{run.tagged} pictures in <code>{escape(run.directory)}</code> were given tags out of
{len(run.labels)} labels by one job in {run.seconds:.1f} s. The same job once more found {run.again_unchanged} of them
unchanged in {run.again_seconds:.1f} s. The dates are EXIF data that the demo wrote into its copies.</p>
<ol class="hits card">{samples}</ol>
<div class="tiles"><div class="card"><table><tr><th>best tag</th><th class="number">pictures</th><th></th></tr>
{_bars(run.counts)}</table></div>
<div class="card"><table><tr><th>any tag</th><th class="number">pictures</th><th class="number">mean score</th></tr>
{statistics}</table></div>
<div class="card"><table><tr><th>taken in</th><th class="number">pictures</th><th></th></tr>
{_bars(run.months)}</table></div></div>
<p class="soft">Of the pictures whose catalogued keywords name exactly one of the labels, {share} have it as their best
tag: this model is a small one.</p>{failed}
</section>"""


def duplicates(run: DuplicateRun | None, show: Show) -> str:
    """Groups of copies, those of each kind apart."""
    if run is None:
        return ""
    found = ", ".join(f"{run.found[kind]} of {planted} {kind}" for kind, planted in run.planted.items())
    kinds = "".join(
        f"<h3>{escape(kind)}</h3><div class='groups'>{''.join(_group(group, show) for group in chosen[:SHOWN_GROUPS])}"
        f"</div>{_more(len(chosen) - SHOWN_GROUPS)}"
        for kind in run.planted
        if (chosen := [group for group in run.groups if group.kind == kind])
    )
    return f"""<section>
<h2>Copies in a directory</h2>
<p class="soft lead">{run.pictures} files in <code>{escape(run.directory)}</code>, among them copies that the demo made:
of the file, of the pixels in another format, and smaller ones of less quality. Found in {run.seconds:.1f} s: {found}.
The file to keep is named in bold. What else was grouped are pictures of the catalogue that look nearly alike.</p>
<div class="card">{kinds}</div>
</section>"""


def _card(title: str, note: str, hits: Sequence[Result], show: Show) -> str:
    inside = "".join(
        f'<li>{show(hit.id)}<span class="name">{escape(hit.name)}</span><span class="score">{hit.score:.3f}</span></li>'
        for hit in hits
    )
    return f"""<article class="card search">
<header><b>{title}</b><span class="time">{note}</span></header>
<ol class="hits">{inside}</ol>
</article>"""


def _sample(picture: TaggedPicture, show: Show) -> str:
    lines = "".join(f'<span class="score">{escape(tag.tag)} {tag.score:.2f}</span>' for tag in picture.tags[1:])
    best = picture.tags[0]
    return f'<li>{show(picture.id)}<span class="name"><b>{escape(best.tag)}</b> {best.score:.2f}</span>{lines}</li>'


def _bars(counts: dict[str, int]) -> str:
    longest = max(counts.values(), default=1)
    return "".join(
        f'<tr><td>{escape(name)}</td><td class="number">{count}</td>'
        f'<td class="wide"><span class="bar" style="width: {100 * count / longest:.1f}%"></span></td></tr>'
        for name, count in counts.items()
    )


def _group(group: DuplicateGroup, show: Show) -> str:
    first = group.keeper.removeprefix("copy-of-").rpartition(".")[0].removesuffix("-small").removesuffix("-as")
    names = "<br>".join(f"<b>{escape(name)}</b>" if name == group.keeper else escape(name) for name in group.members)
    return f"<div>{show(first)}<p>{names}</p></div>"


def _more(count: int) -> str:
    return f'<p class="soft">and {count} more</p>' if count > 0 else ""
