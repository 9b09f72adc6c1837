"""The page: everything it shows is worked out here, and put into one HTML file by the template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from importlib.resources import files
from typing import Any, NamedTuple

import jinja2
from markupsafe import Markup

from metier.core.types import Documents
from metier.corpus.look.samples import Changed, Left
from metier.corpus.look.survey import BINS_A_DECADE, Share, Survey
from metier.corpus.saved import origin

_MOST_ROWS = 12
_HEIGHT, _WIDTH = 150, 640
_TITLES = {
    "source": "Sources",
    "language": "Languages",
    "media_type": "Kinds",
    "license": "Licences",
    "channel": "Channels",
    "split": "Splits",
}


class Stage(NamedTuple):
    """One step of the chain: its ledger in documents, its figures, and samples of what it did."""

    name: str
    step: str
    came: int
    kept: int
    dropped: Mapping[str, int]
    figures: Mapping[str, Any]
    left: Mapping[str, Sequence[Left]]
    changed: Sequence[Changed]
    hidden: str | None


class Bar(NamedTuple):
    """One row of a bar chart: label, width in percent of the widest, and what is written beside it."""

    label: str
    percent: float
    told: str


def stage(name: str, artifact: Documents, **samples: Any) -> Stage:
    """Return what the record of a finished step says, with samples."""
    record = origin(artifact)
    lines = [line for line in record.ledger.lines if line.unit in ("document", "file", "row", "URL")]
    dropped: dict[str, int] = {}
    for line in lines:
        for reason, count in line.dropped.items():
            dropped[reason] = dropped.get(reason, 0) + count
    came, kept = (lines[0].came, lines[0].kept) if lines else (0, 0)
    ordered = dict(sorted(dropped.items(), key=lambda item: -item[1]))
    figures = {key: value for key, value in record.figures.items() if isinstance(value, int | float | str | dict)}
    return Stage(name, record.step, came, kept, ordered, figures, **samples)


def page(title: str, stages: Sequence[Stage], found: Survey) -> str:
    """Return the page as HTML that needs nothing from anywhere else."""
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters["n"] = lambda value: f"{value:,}" if isinstance(value, int) else value
    template = environment.from_string(_resource("look.html.j2"))
    return template.render(
        title=title,
        style=Markup(_resource("look.css")),
        date=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        stages=stages,
        survey=found,
        flow=[Bar(s.name, 100 * s.kept / max(max(t.came for t in stages), 1), f"{s.kept:,}") for s in stages],
        histogram=Markup(histogram(found.lengths)),
        tables=[(_TITLES[name], bars(shares)) for name, shares in found.by.items()],
    )


def bars(shares: Mapping[str, Share]) -> list[Bar]:
    """Return the largest shares as bars, by characters, and one for all the rest."""
    ordered = sorted(shares.items(), key=lambda item: -item[1].characters)
    shown = [(label or "not known", share) for label, share in ordered[:_MOST_ROWS]]
    rest = [share for _, share in ordered[_MOST_ROWS:]]
    if rest:
        total = Share(sum(share.documents for share in rest), sum(share.characters for share in rest))
        shown.append((f"{len(rest)} others", total))
    widest = max((share.characters for _, share in shown), default=1) or 1
    whole = sum(share.characters for share in shares.values()) or 1
    return [
        Bar(
            label,
            100 * share.characters / widest,
            f"{share.documents:,} · {share.characters / whole:.1%} of characters",
        )
        for label, share in shown
    ]


def histogram(lengths: Mapping[int, int]) -> str:
    """Return the distribution of lengths as SVG columns; each says its bounds and count when pointed at."""
    if not lengths:
        return ""
    first, last = min(lengths), max(lengths)
    width = _WIDTH / (last - first + 1)
    highest = max(lengths.values())
    parts = []
    for bin, count in lengths.items():
        low, high = (10 ** (edge / BINS_A_DECADE) for edge in (bin, bin + 1))
        height = max(_HEIGHT * count / highest, 1.5)
        told = escape(f"{low:,.0f} to {high:,.0f} characters: {count:,} documents")
        x = (bin - first) * width
        place = f'x="{x + 1:.1f}" y="{_HEIGHT - height:.1f}" width="{width - 2:.1f}" height="{height:.1f}"'
        parts.append(f"<rect {place}><title>{told}</title></rect>")
        if bin % BINS_A_DECADE == 0:
            parts.append(f'<text x="{x:.1f}" y="{_HEIGHT + 16}">{low:,.0f}</text>')
    label = "Documents by length in characters, logarithmic"
    return f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT + 22}" role="img" aria-label="{label}">{"".join(parts)}</svg>'


def _resource(name: str) -> str:
    return files("metier.corpus.look").joinpath(name).read_text(encoding="utf-8")
