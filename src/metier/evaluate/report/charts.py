"""Charts as inline SVG: drawn here so that they follow the page's light or dark colours and its letters stay text.

Colours come from the page's classes `s0`, `s1`, … (one a model), never from here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import NamedTuple

from metier.core.types import Score
from metier.evaluate.calibration import Calibration
from metier.evaluate.report.metrics import Kind, Subject
from metier.evaluate.report.numbers import short, significant, ticks
from metier.evaluate.report.training import Curve, smoothed, thinned

SERIES = 8
"""How many colours the page has; further models begin again, with their dashes and marks."""

DASHES = ("2 4", "7 3", "10 3 2 3", "", "1 3", "12 4", "4 4", "8 2 2 2")


class Axis(NamedTuple):
    """One axis of the radar: its label in one or two lines, and where each model stands, 0..1 and as it is read."""

    label: str
    values: Mapping[str, float]
    read: Mapping[str, str]


def _tag(tag: str, content: str = "", **attributes: object) -> str:
    told = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{escape(_plain(value))}"' for name, value in attributes.items()
    )
    return f"<{tag}{told}>{content}</{tag}>"


def _plain(value: object) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def _text(x: float, y: float, content: str, **attributes: str) -> str:
    return _tag("text", escape(content), x=x, y=y, **attributes)


def _path(points: Sequence[tuple[float, float]], closed: bool = False, **attributes: str) -> str:
    way = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points) + ("Z" if closed else "")
    return _tag("path", d=way, **attributes)


def mark(number: int, x: float, y: float, size: float = 4.0, title: str = "") -> str:
    """Return the mark of model `number`: its colour and a shape of its own, so that colour is never all that tells.

    Four shapes are filled; the next four models have the same, hollow.
    """
    told = _tag("title", escape(title)) if title else ""
    class_ = f"mark s{number % SERIES}" + (" hollow" if number % SERIES > 3 else "")
    if number % 4 == 0:
        return _tag("circle", told, class_=class_, cx=x, cy=y, r=size * 0.9)
    shape = _SHAPES[number % 4 - 1]
    way = "M" + "L".join(f"{x + dx * size:.1f} {y + dy * size:.1f}" for dx, dy in shape) + "Z"
    return _tag("path", told, class_=class_, d=way)


_SHAPES = (
    ((-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85)),
    ((0, -1.15), (1.1, 0.85), (-1.1, 0.85)),
    ((0, -1.3), (1.3, 0), (0, 1.3), (-1.3, 0)),
)


def _svg(width: int, height: int, name: str, content: str, class_: str) -> str:
    return _tag("svg", content, class_=class_, viewBox=f"0 0 {width} {height}", role="img", aria_label=name)


def key(number: int) -> str:
    """Return the line and mark of model `number` for a legend."""
    line = _path([(1, 7), (27, 7)], class_=f"line s{number % SERIES}", stroke_dasharray=DASHES[number % len(DASHES)])
    return _tag("svg", line + mark(number, 14, 7), class_="key", viewBox="0 0 28 14", aria_hidden="true")


def radar(axes: Sequence[Axis], models: Sequence[str], final: str, name: str) -> str:
    """Return the radar of `models` over `axes`, three of them or more; the final model is drawn on top and filled.

    Each model is a group of class `m0`, `m1`, …, by which the page can hide it.
    """
    width, height, radius = 440, 360, 122.0
    middle_x, middle_y = width / 2, height / 2

    def place(at: float, share: float) -> tuple[float, float]:
        angle = 2 * math.pi * at / len(axes)
        return middle_x + share * radius * math.sin(angle), middle_y - share * radius * math.cos(angle)

    parts = []
    for ring in (0.25, 0.5, 0.75, 1.0):
        parts.append(_path([place(at, ring) for at in range(len(axes))], closed=True, class_="grid"))
    for at, axis in enumerate(axes):
        parts.append(_path([place(at, 0), place(at, 1)], class_="grid"))
        parts.append(_axis_label(axis.label, *place(at, 1.12), middle_x))
    for number, model in sorted(enumerate(models), key=lambda pair: pair[1] == final):
        there = [(at, axis) for at, axis in enumerate(axes) if model in axis.values]
        points = [place(at, axis.values[model]) for at, axis in there]
        top = model == final and len(models) > 1
        # a model that was not examined on every axis gets its marks only: a line would invent the rest
        line = _radar_line(points, number, top) if len(there) == len(axes) else ""
        marks = [
            mark(number, x, y, title=f"{model}, {axis.label.replace(chr(10), ' ')}: {axis.read[model]}")
            for (_, axis), (x, y) in zip(there, points, strict=True)
        ]
        parts.append(_tag("g", line + "".join(marks), class_=f"m{number}"))
    for ring in (0.5, 1.0):
        x, y = place(0.5, ring * math.cos(math.pi / len(axes)))  # between two axes, where no label is
        parts.append(_text(x + 3, y - 3, f"{ring:g}", class_="tick"))
    return _svg(width, height, name, "".join(parts), "radar")


def _axis_label(label: str, x: float, y: float, middle: float) -> str:
    anchor = "middle" if abs(x - middle) < 20 else "start" if x > middle else "end"
    lines = label.split("\n")
    rows = "".join(
        _tag("tspan", escape(line), x=x, dy=f"{1.1 if number else 0.35 - 0.55 * (len(lines) - 1):.2f}em")
        for number, line in enumerate(lines)
    )
    return _tag("text", rows, x=x, y=y, text_anchor=anchor, class_="axis")


def _radar_line(points: Sequence[tuple[float, float]], number: int, top: bool) -> str:
    return _path(
        points,
        closed=True,
        class_=f"line s{number % SERIES}{' top' if top else ''}",
        stroke_dasharray="" if top else DASHES[number % len(DASHES)],
    )


def loss(curve: Curve, name: str, x_label: str, y_label: str) -> str:
    """Return a loss curve over trained tokens: every logged step faint, their moving mean on top."""
    width, height, left, right, top, bottom = 380, 230, 44, 14, 20, 38
    points = curve.points
    shown = thinned(points)
    means = smoothed([point.loss for point in points], window(curve))
    x_ticks = ticks(0, max(point.tokens for point in points), 5)
    y_ticks = ticks(min(point.loss for point in points), max(point.loss for point in points), 5)
    across, up = (
        (width - left - right) / (max(point.tokens for point in points) or 1),
        (height - top - bottom) / (y_ticks[-1] - y_ticks[0]),
    )

    def place(tokens: float, value: float) -> tuple[float, float]:
        return left + tokens * across, height - bottom - (value - y_ticks[0]) * up

    parts = []
    for value in y_ticks:
        x, y = place(0, value)
        parts.append(_path([(x, y), (width - right, y)], class_="grid"))
        parts.append(_text(x - 6, y + 4, f"{value:g}", class_="tick", text_anchor="end"))
    for tokens in x_ticks[:-1] if x_ticks[-1] > points[-1].tokens else x_ticks:
        x, y = place(tokens, y_ticks[0])
        parts.append(_text(x, y + 16, short(tokens), class_="tick", text_anchor="middle"))
    parts.append(_text(left - 6, 10, y_label, class_="tick", text_anchor="start"))
    parts.append(_text(width - right, height - 4, x_label, class_="tick", text_anchor="end"))
    parts.append(_path([place(point.tokens, point.loss) for point in shown], class_="raw"))
    step = max(1, len(points) // 200)
    line = [(point.tokens, mean) for point, mean in zip(points, means, strict=True)]
    kept = line[::step] if line[::step][-1] == line[-1] else [*line[::step], line[-1]]
    parts.append(_path([place(*point) for point in kept], class_="line s1 top-line"))
    if len(points) == 1:
        parts.append(mark(1, *place(points[0].tokens, points[0].loss)))
    return _svg(width, height, name, "".join(parts), "loss")


def window(curve: Curve) -> int:
    """Return over how many logged steps the mean of `curve` is taken: a twentieth of them, an odd number."""
    return max(1, len(curve.points) // 20) | 1


class Scale(NamedTuple):
    """What an interval plot spans, and a value marked on it (the chance level), if any."""

    low: float
    high: float
    chance: float | None = None


def scale(subject: Subject, rows: Sequence[Score], chance: float | None) -> Scale:
    """Return the scale for all figures of one subject: 0 to 1 for shares, what the intervals span for the rest."""
    if subject.metric.kind is Kind.SHARE:
        return Scale(0.0, 1.0, chance)
    values = [value for row in rows for value in (row.value, row.low, row.high) if value is not None]
    span = (max(values) - min(values)) or abs(values[0]) or 1.0
    return Scale(min(values) - 0.05 * span, max(values) + 0.05 * span, None)


def interval(
    value: float, low: float | None, high: float | None, number: int, on: Scale, title: str = "", zero: bool = False
) -> str:
    """Return one figure as a mark with its interval as a line; `zero` marks 0, where a difference is none."""
    width, height, edge = 170, 16, 6

    def across(at: float) -> float:
        return edge + (min(max(at, on.low), on.high) - on.low) / ((on.high - on.low) or 1) * (width - 2 * edge)

    parts = [_path([(edge, 8), (width - edge, 8)], class_="grid")]
    marked = [0.0] if zero else [on.chance] if on.chance is not None else []
    parts += [_path([(across(at), 1), (across(at), 15)], class_="chance") for at in marked]
    if low is not None and high is not None:
        parts.append(_path([(across(low), 8.0), (across(high), 8.0)], class_=f"whisker s{number % SERIES}"))
    parts.append(mark(number, across(value), 8, title=title))
    return _tag("svg", "".join(parts), class_="interval", viewBox=f"0 0 {width} {height}", aria_hidden="true")


def reliability(found: Calibration, number: int, name: str, x_label: str, y_label: str) -> str:
    """Return a reliability diagram: the share that is right over mean confidence, with intervals, and where they agree.

    Each mark is a bin of equally many choices (Niculescu-Mizil and Caruana 2005).
    """
    width, height, left, right, top, bottom = 260, 244, 38, 12, 18, 36

    def place(x: float, y: float) -> tuple[float, float]:
        return left + x * (width - left - right), height - bottom - y * (height - top - bottom)

    parts = []
    for at in (0.0, 0.25, 0.5, 0.75, 1.0):
        parts.append(_path([place(0, at), place(1, at)], class_="grid"))
        if at in (0.0, 0.5, 1.0):
            x, y = place(0, at)
            parts.append(_text(x - 5, y + 4, f"{at:.0%}", class_="tick", text_anchor="end"))
            x, y = place(at, 0)
            anchor = "end" if at == 1.0 else "middle"
            parts.append(_text(x, y + 15, f"{at:.0%}", class_="tick", text_anchor=anchor))
    parts.append(_path([place(0, 0), place(1, 1)], class_="chance"))
    for one in found.bins:
        ends = [place(one.confidence, one.right.low), place(one.confidence, one.right.high)]
        parts.append(_path(ends, class_=f"whisker s{number % SERIES}"))
    points = [place(one.confidence, one.right.value) for one in found.bins]
    parts.append(_path(points, class_=f"line s{number % SERIES}"))
    for one, point in zip(found.bins, points, strict=True):
        parts.append(mark(number, *point, title=f"{one.confidence:.0%} → {one.right.value:.0%}"))
    parts.append(_text(left - 30, 9, y_label, class_="tick", text_anchor="start"))
    parts.append(_text(width - right, height - 4, x_label, class_="tick", text_anchor="end"))
    return _svg(width, height, name, "".join(parts), "reliability")


def last_mean(curve: Curve) -> tuple[str, str]:
    """Return the first and the last moving mean of a loss curve as text."""
    means = smoothed([point.loss for point in curve.points], window(curve))
    return significant(means[0]), significant(means[-1])
