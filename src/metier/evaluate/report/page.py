"""The page: one HTML file that says the facts in every language, a switch at its top choosing which is seen."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from importlib.resources import files
from typing import Any, NamedTuple

import jinja2
from markupsafe import Markup

from metier.evaluate.report import charts, numbers
from metier.evaluate.report.calibrated import calibrated
from metier.evaluate.report.diagnosis_zh import in_chinese
from metier.evaluate.report.dimensions import Dimension
from metier.evaluate.report.facts import Facts, cut, needed_verdict
from metier.evaluate.report.figures import Difference, Figures
from metier.evaluate.report.made import flat, made
from metier.evaluate.report.metrics import KNOWN, Subject, each_once, radar_value
from metier.evaluate.report.story import story
from metier.evaluate.report.training import Curve
from metier.evaluate.report.words import (
    CALLED,
    LANGUAGES,
    Words,
    axis_of,
    counted,
    dimension_of,
    name_of,
    unit_of,
)

LEAST_AXES = 3
"""A radar of fewer axes has no area; they are listed instead."""

SHOWN_ANSWERS = 2
"""Questions whose answers are seen at once; the others are a click away."""

SECTIONS = (
    "radar",
    "forgotten",
    "gate",
    "doctor",
    "leaks",
    "answers",
    "judge",
    "figures",
    "benchmarks",
    "calibration",
    "decoding",
    "speed",
    "cost",
    "training",
    "ledger",
    "how",
    "limits",
)
"""Everything below the headline, in the page's order. What the report was not given is left out, heading and all."""


def html(facts: Facts, language: str) -> str:
    """Return the page. It holds no script and loads nothing; whatever came from a model or a document is escaped.

    Args:
        language: the one it opens in, "en" or "zh".
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("metier.evaluate.report", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    body = environment.get_template("body.html.j2")
    codes = [language, *(code for code in LANGUAGES if code != language)]
    bodies = [(code, Markup(body.render(view(facts, LANGUAGES[code], code, first=code == language)))) for code in codes]
    style = (files("metier.evaluate.report") / "report.css").read_text(encoding="utf-8")
    return environment.get_template("report.html.j2").render(
        language=language,
        called=CALLED,
        switch=" · ".join(LANGUAGES[code]["language"] for code in LANGUAGES),
        style=Markup(style),
        title=facts.material.title or LANGUAGES[language]["title"],
        bodies=bodies,
        hidden=range(len(facts.figures.models)),
    )


def view(facts: Facts, words: Words, code: str, first: bool) -> dict[str, Any]:
    """Return what the template needs to say the facts in one language. Ids are told apart by a prefix."""
    figures, material = facts.figures, facts.material
    table = _table(figures, words, material.exam)
    shown = [row["difference"] for group in table for row in group["rows"] if row["difference"] is not None]
    found: dict[str, Any] = {
        "w": words,
        "p": "" if first else f"{code}-",
        "say": lambda key, /, **told: words[key].format(**told),
        "title": material.title or words["title"],
        "page": material.page,
        "date": datetime.now(UTC).date().isoformat(),
        "facts": facts,
        "diagnosis": _diagnosis(facts, words),
        "figures": figures,
        "needed": material.needed,
        "needed_kind": needed_verdict(material.needed) if material.needed is not None else None,
        "settings": material.settings,
        "name_of": partial(name_of, words=words),
        "subject_of": lambda found: Subject(found.name, found.split),
        "dimension_of": partial(dimension_of, words=words),
        "counted": partial(counted, words=words),
        "unit_of": partial(unit_of, words=words),
        "n": numbers,
        "key": lambda label: Markup(charts.key(_number(figures, label))),
        "story": story(figures, words),
        "radar": _radar(facts, words),
        "nets": _nets(facts.dimensions),
        "table": table,
        "benchmarks": _table(facts.benchmarks, words, {}, figures) if facts.benchmarks is not None else [],
        "any_paired": any(one.paired for one in shown),
        "any_unpaired": any(not one.paired and one.low is not None for one in shown),
        "calibrated": calibrated(facts, words, partial(_number, figures)),
        "curves": [_drawn(one, words) for one in facts.curves],
        "made": made(material.everything(), words),
        "conditions": list(flat(material.exam.get("conditions") or {}, "", words)),
        "parity": list(flat(facts.parity or {}, "", words)),
        "limits": _limits(figures, words),
        "cut": cut,
        "shown_answers": SHOWN_ANSWERS,
        "setting_of": partial(numbers.decoding, words=words),
        "told_measure": partial(numbers.measure, words=words),
    }
    return {**found, "sections": _sections(facts, found)}


def _sections(facts: Facts, found: Mapping[str, Any]) -> list[str]:
    there: dict[str, Any] = {
        "radar": found["radar"].rows or facts.dimensions,
        "answers": facts.cards,
        "forgotten": facts.forgotten,
        "gate": facts.gate,
        "benchmarks": found["benchmarks"],
        "calibration": facts.calibration,
        "judge": facts.judged,
        "doctor": facts.diagnosis,
        "leaks": facts.leaks,
        "decoding": facts.decoding,
        "speed": facts.speed,
        "training": facts.curves,
        "ledger": facts.flow.stages,
    }
    return [name for name in SECTIONS if there.get(name, True)]


def _diagnosis(facts: Facts, words: Words) -> dict[str, Any] | None:
    if facts.diagnosis is None or words["lang"] != "zh":
        return facts.diagnosis
    return in_chinese(facts.diagnosis, partial(numbers.measure, words=words))


def _number(figures: Figures, label: str) -> int:
    labels = [*figures.models, *figures.controls]
    return labels.index(label) if label in labels else len(labels)


class Radar(NamedTuple):
    """The radar's drawing, None where there are too few axes. `rows` is its table where it is drawn by figures."""

    drawing: Markup | None
    by_dimension: bool
    rows: list[dict[str, Any]]
    rules: list[str]


def _radar(facts: Facts, words: Words) -> Radar:
    figures = facts.figures
    if facts.dimensions:
        axes = [_axis(one, words) for one in facts.dimensions]
        return Radar(_drawn_radar(axes, figures, words), True, [], [])
    axes, rows = [], []
    rules: dict[str, int] = {}
    for subject in each_once(figures.subjects):
        base = figures.get(figures.base, subject)
        found = {label: figures.get(label, subject) for label in figures.models}
        there = {label: row for label, row in found.items() if row is not None}
        drawn = {label: radar_value(subject, row.value, base.value if base else None) for label, row in there.items()}
        values = {label: value for label, value in drawn.items() if value is not None}
        if subject.metric.radar is None or not values:
            continue
        read = {label: numbers.tell(subject, there[label].value) for label in values}
        axes.append(charts.Axis(axis_of(subject, words), values, read))
        rule = words[f"rule_{subject.metric.radar}"]
        number = rules.setdefault(rule, len(rules) + 1)
        rows.append({"subject": subject, "values": values, "scores": there, "rule": number})
    return Radar(_drawn_radar(axes, figures, words), False, rows, list(rules))


def _axis(dimension: Dimension, words: Words) -> charts.Axis:
    values = {one.model: one.share.value for one in dimension.standings}
    label = dimension_of(dimension.name, words).replace(": ", ":\n").replace("：", "：\n")
    return charts.Axis(label, values, {model: f"{numbers.percent(value)}%" for model, value in values.items()})


def _drawn_radar(axes: list[charts.Axis], figures: Figures, words: Words) -> Markup | None:
    if len(axes) < LEAST_AXES:
        return None
    name = words["radar_alt"].format(models=words["list"].join(figures.models), count=len(axes))
    return Markup(charts.radar(axes, figures.models, figures.final, name))


def _nets(dimensions: list[Dimension]) -> dict[str, Markup]:
    """Return what each dimension won less what it lost, drawn on one scale."""
    there = {one.name: one.net for one in dimensions if one.net is not None}
    ends = [abs(end) for net in there.values() for end in (net.low, net.high, net.value)]
    scale = charts.Scale(-max(ends, default=1.0), max(ends, default=1.0))
    return {
        name: Markup(charts.interval(net.value, net.low, net.high, 0, scale, zero=True)) for name, net in there.items()
    }


def _table(
    figures: Figures, words: Words, exam: Mapping[str, Any], colours: Figures | None = None
) -> list[dict[str, Any]]:
    """Return the figures by subject. `colours` are the figures whose models' colours are used."""
    groups = []
    for subject in figures.subjects:
        labels = [*figures.models, *figures.controls]
        rows = [row for label in labels if (row := figures.get(label, subject)) is not None]
        scale = charts.scale(subject, rows, exam.get(f"{subject.name}_chance"))
        direction = {True: "higher", False: "lower", None: "direction_unknown"}[subject.metric.higher_is_better]
        groups.append(
            {
                "subject": subject,
                "about": words[direction],
                "chance": scale.chance,
                "rows": [
                    {
                        "score": row,
                        "control": row.model in figures.controls,
                        "drawing": Markup(
                            charts.interval(row.value, row.low, row.high, _number(colours or figures, row.model), scale)
                        ),
                        "difference": _to_base(figures, row.model, subject),
                    }
                    for row in rows
                ],
            }
        )
    return groups


def _to_base(figures: Figures, label: str, subject: Any) -> Difference | None:
    return None if label == figures.base else figures.difference(figures.base, label, subject)


def _drawn(found: Curve, words: Words) -> dict[str, Any]:
    first, last = charts.last_mean(found)
    name = words["loss_alt"].format(title=found.title, first=first, last=last)
    drawing = charts.loss(found, name, words["tokens_trained"], words["loss"])
    caption = words["loss_caption"].format(
        steps=f"{len(found.points):,}",
        tokens=f"{found.points[-1].tokens:,}",
        window=charts.window(found),
        first=first,
        last=last,
    )
    every = max(1, -(-len(found.points) // 20))
    rows = found.points[::every]
    rows += [] if rows[-1] == found.points[-1] else [found.points[-1]]
    return {"curve": found, "drawing": Markup(drawing), "caption": caption, "rows": rows}


def _limits(figures: Figures, words: Words) -> list[str]:
    found = [words["limit_seed"]]
    counts = [row.n for row in figures.rows if row.n is not None]
    if counts:
        found.append(words["limit_n"].format(low=f"{min(counts):,}", high=f"{max(counts):,}"))
    found.append(words["limit_cluster"])
    others = [*figures.models[1:], *figures.controls]
    judged = sum(one.low is not None for label in others for one in figures.differences(figures.base, label))
    if judged > 1:
        found.append(words["limit_many"].format(count=judged, chance=numbers.significant(judged * 0.05, 2)))
    if any(subject.name in KNOWN for subject in figures.subjects):
        found.append(words["limit_exam"])
    return [*found, words["limit_answers"]]
