"""The page: everything it shows is worked out here, and put into one HTML file by the template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property
from importlib.resources import files
from typing import Any, NamedTuple

import jinja2
from markupsafe import Markup

from metier.core.artifact import Artifact
from metier.core.types import Export, Model, Scores
from metier.evaluate.report import answers, charts, numbers
from metier.evaluate.report.figures import Difference, Figures
from metier.evaluate.report.flow import flow
from metier.evaluate.report.made import flat, made, parity
from metier.evaluate.report.metrics import KNOWN, Subject, each_once, radar_value
from metier.evaluate.report.pairing import pairing
from metier.evaluate.report.story import costliest_stage, story
from metier.evaluate.report.training import Curve, curve
from metier.evaluate.report.words import Words, axis_of, counted, name_of

LONGEST_ANSWER = 500
"""Characters of a question or an answer that are shown; what is cut is said."""


class Material:
    """The finished artifacts that a report is made from.

    Args:
        page: what the report's own folder is called.
    """

    def __init__(
        self,
        models: Mapping[str, Scores],
        controls: Mapping[str, Scores],
        training: Sequence[Model],
        ledger: Sequence[Artifact],
        export: Export | None,
        title: str | None,
        page: str,
    ) -> None:
        self.models, self.controls, self.training, self.ledger = models, controls, training, ledger
        self.export, self.title, self.page = export, title, page

    @cached_property
    def items(self) -> Mapping[str, answers.Items]:
        """The graded items of each model and control. Raises Failure where they are not all there."""
        scores = {**self.models, **self.controls}
        return {label: answers.read_items(found.folder, label, found.figures()) for label, found in scores.items()}

    def figures(self) -> Figures:
        """Return all figures. Raises Failure if answers are missing, Mistake if the models sat unlike exams."""
        models = {label: scores.figures() for label, scores in self.models.items()}
        controls = {label: scores.figures() for label, scores in self.controls.items()}
        figures = Figures(models, controls)
        if self.items:  # read, and so known to be whole, before anything is compared
            figures.compare = pairing({**self.models, **self.controls})
        return figures

    @cached_property
    def exam(self) -> Mapping[str, Any]:
        """What the base's examination says about itself in its record: conditions, chance levels."""
        return next(iter(self.models.values())).record.figures

    def everything(self) -> list[Artifact]:
        """Return every artifact once, in the order in which they were given."""
        found = [*self.ledger, *self.training, *self.models.values(), *self.controls.values()]
        found += [self.export] if self.export is not None else []
        return list({artifact.folder: artifact for artifact in found}.values())


def html(material: Material, figures: Figures, words: Words) -> str:
    """Return the page. It holds no script and loads nothing; whatever came from a model or a document is escaped."""
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    room = files("metier.evaluate.report")
    table = _table(figures, material.exam, words)
    shown = [row["difference"] for group in table for row in group["rows"] if row["difference"] is not None]
    template = environment.from_string((room / "report.html.j2").read_text(encoding="utf-8"))
    return template.render(
        w=words,
        say=lambda key, /, **told: words[key].format(**told),
        style=Markup((room / "report.css").read_text(encoding="utf-8")),
        title=material.title or words["title"],
        page=material.page,
        date=datetime.now(UTC).date().isoformat(),
        figures=figures,
        name_of=name_of,
        counted=counted,
        n=numbers,
        key=lambda label: Markup(charts.key(_number(figures, label))),
        story=story(figures, words),
        radar=_radar(figures, words),
        table=table,
        any_paired=any(one.paired for one in shown),
        any_unpaired=any(not one.paired and one.low is not None for one in shown),
        curves=[_drawn(found, words) for found in map(curve, material.training) if found is not None],
        flow=flow([*material.ledger, *material.training]),
        answers=_answers(material, figures, words),
        forgotten=_forgotten(material, figures),
        made=made(material.everything(), words),
        conditions=list(flat(material.exam.get("conditions") or {}, "", words)),
        parity=parity(material.export.folder, words) if material.export is not None else None,
        limits=_limits(figures, words),
    )


def _number(figures: Figures, label: str) -> int:
    return [*figures.models, *figures.controls].index(label)


class Radar(NamedTuple):
    """The radar's drawing, None where there are too few axes, and the rows of its table."""

    drawing: Markup | None
    rows: list[dict[str, Any]]
    rules: list[str]


def _radar(figures: Figures, words: Words) -> Radar:
    axes, rows = [], []
    rules: dict[str, int] = {}
    for subject in each_once(figures.subjects):
        if subject.metric.radar is None:
            continue
        base = figures.get(figures.base, subject)
        found = {label: figures.get(label, subject) for label in figures.models}
        there = {label: row.value for label, row in found.items() if row is not None}
        drawn = {
            label: radar_value(subject, value, base.value if base is not None else None)
            for label, value in there.items()
        }
        values = {label: value for label, value in drawn.items() if value is not None}
        if not values:
            continue
        read = {label: numbers.tell(subject, there[label]) for label in values}
        axes.append(charts.Axis(axis_of(subject), values, read))
        rule = words[f"rule_{subject.metric.radar}"]
        number = rules.setdefault(rule, len(rules) + 1)
        rows.append({"subject": subject, "values": values, "read": read, "rule": number})
    drawing = None
    if len(axes) >= 3:
        name = words["radar_alt"].format(models=", ".join(figures.models), count=len(axes))
        drawing = Markup(charts.radar(axes, figures.models, name))
    return Radar(drawing, rows, list(rules))


def _table(figures: Figures, exam: Mapping[str, Any], words: Words) -> list[dict[str, Any]]:
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
                        "drawing": Markup(charts.interval(row, _number(figures, row.model), scale)),
                        "difference": _to_base(figures, row.model, subject),
                    }
                    for row in rows
                ],
            }
        )
    return groups


def _to_base(figures: Figures, label: str, subject: Subject) -> Difference | None:
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


class Shown(NamedTuple):
    """One text that may have been cut: `whole` is its length in characters where it was."""

    text: str
    whole: int | None


def _cut(text: object) -> Shown:
    plain = text if isinstance(text, str) else str(text)
    return Shown(plain, None) if len(plain) <= LONGEST_ANSWER else Shown(plain[:LONGEST_ANSWER], len(plain))


def _answers(material: Material, figures: Figures, words: Words) -> dict[str, Any]:
    items = material.items
    found = answers.graded(items[figures.base], items[figures.final])
    cards = []
    for chosen in answers.choose(found):
        asked = items[figures.base][chosen.subject][chosen.id]
        replies = []
        for label in figures.models:
            item = items[label].get(chosen.subject, {}).get(chosen.id)
            replies.append(_reply(label, item, words))
        expected = asked.get("expected")
        cards.append(
            {
                "chosen": chosen,
                "question": _cut(asked.get("question", chosen.id)),
                "expected": _cut(expected) if expected is not None else None,
                "replies": replies,
            }
        )
    tally = answers.tally(found)
    return {"cards": cards, "count": len(found), "tally": {outcome.value: count for outcome, count in tally.items()}}


def _reply(label: str, item: Mapping[str, Any] | None, words: Words) -> dict[str, Any]:
    if item is None or item.get("answer") is None:
        return {"label": label, "right": None, "verdict": words["not_asked"], "answer": None, "reason": None}
    right = answers.right(item)
    verdict = words["not_graded"] if right is None else words["right" if right else "wrong"]
    score = item.get("score")
    if score is not None and 0 < float(score) < 1:
        verdict += f", {words['marks'].format(score=numbers.significant(float(score), 2))}"
    reason = item.get("reason")
    return {
        "label": label,
        "right": right,
        "verdict": verdict,
        "answer": _cut(item["answer"]),
        "reason": _cut(reason) if reason and not right else None,
    }


def _forgotten(material: Material, figures: Figures) -> dict[str, Any]:
    found = [
        {"difference": one, "stage": costliest_stage(figures, one.subject)}
        for one in figures.differences(figures.base, figures.final)
        if one.subject.metric.forgetting and len(figures.models) > 1
    ]
    tally = answers.tally(answers.graded(material.items[figures.base], material.items[figures.final]))
    lost, kept = tally[answers.Outcome.LOST], tally[answers.Outcome.KEPT]
    return {"rows": found, "lost": lost, "could": lost + kept}


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
