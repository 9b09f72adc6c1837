"""Everything that the page shows, as values: the same for every language, and what report.json holds.

report.json is one object. Intervals are 95%; shares are 0..1; what was not measured is null, and a section that
the report was not given is not there at all.

- format: 1. title, page (the report's folder), models (labels, the base first), controls, base, final.
- figures: the rows of all scores.json, under the report's labels: {name, model, split, value, low, high, n}.
- differences: every model against the base: {name, split, reference, model, value, low, high, paired, verdict};
  relative changes for perplexities (-0.2 is 20% lower), else differences; verdict is better, worse, unclear, changed
  or unknown.
- summary: language -> the sentences of "in short"; next_steps likewise.
- learnt, lost, unclear: {name, split} of what the final model gained, lost, or neither.
- training_needed: {final, verdict: yes, enough, maybe or untold; enough: label or null, rivals: [{label, shots,
  passages, worse, close, most, differences, chances}]}.
- dimensions: [{name, standings: [{model, share, change}], outcomes: {won, lost, kept, missed}, net}].
- answers: {count, tally, shown}. forgotten: {lost, could, figures}. benchmarks: {figures, differences}.
- gate: [{name, split, lost, p, margin, floor, items_needed, ...}], as `metier gate FINAL --against BASE` tests them.
- calibration: label -> {error, by_chance, excess, bins: [{confidence, right, low, high}]}.
- cost: {training: [...], answering: [...]}; curves; ledger; made: {steps, versions, machines, warnings}; conditions;
  parity.
- doctor, decoding, speed, judge: what those steps wrote; leaks: {questions, leaks: {verbatim, reworded}, shown}.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any, NamedTuple

from pydantic import BaseModel

from metier.core.errors import Failure
from metier.evaluate.baselines import Enough
from metier.evaluate.calibration import Calibration, calibration, choices
from metier.evaluate.compare import one_setting
from metier.evaluate.gate import Checked, check
from metier.evaluate.report import answers, sections
from metier.evaluate.report.cost import Answered, Trained, answered, trained
from metier.evaluate.report.dimensions import Dimension, dimensions
from metier.evaluate.report.figures import Difference, Figures
from metier.evaluate.report.flow import Flow, flow
from metier.evaluate.report.made import made, parity
from metier.evaluate.report.material import Material
from metier.evaluate.report.metrics import Subject, each_once
from metier.evaluate.report.story import costliest_stage, story
from metier.evaluate.report.training import Curve, curve, thinned
from metier.evaluate.report.words import LANGUAGES, Words

FORMAT = 1
LONGEST_ANSWER = 500
"""Characters of a question or an answer that are shown; what is cut is said."""


TELLING = 0.1
"""Loss that an exam may miss and still be said to tell something: beyond 10 points, it is too small to tell."""


class Cut(NamedTuple):
    """One text that may have been cut: `whole` is its length in characters where it was."""

    text: str
    whole: int | None


class Shown(NamedTuple):
    """One reply to a shown question. `right` is None where it was not graded, `answer` where it was not asked."""

    model: str
    right: bool | None
    score: float | None
    answer: Cut | None
    reason: Cut | None


class Card(NamedTuple):
    """One shown question with every model's reply."""

    subject: Subject
    id: str
    dimension: str | None
    outcome: str
    question: Cut
    expected: Cut | None
    replies: list[Shown]


class Forgotten(NamedTuple):
    """One figure of what the base could do before, and the stage that cost most of it, if one clearly did."""

    difference: Difference
    stage: Difference | None


class Facts(NamedTuple):
    """What the page shows, section by section; None or empty where the report was not given it."""

    material: Material
    figures: Figures
    dimensions: list[Dimension]
    cards: list[Card]
    graded: int
    tally: dict[str, int]
    forgotten: list[Forgotten]
    gate: list[Checked]
    benchmarks: Figures | None
    calibration: dict[str, Calibration]
    trained: list[Trained]
    answered: list[Answered]
    curves: list[Curve]
    flow: Flow
    parity: Any
    diagnosis: dict[str, Any] | None
    leaks: dict[str, Any] | None
    decoding: dict[str, Any] | None
    speed: list[dict[str, Any]]
    judged: sections.Judged | None


def gather(material: Material) -> Facts:
    """Work out everything that the page shows.

    Raises:
        Mistake: the models sat unlike exams, or a field of the report names another kind of step.
        Failure: answers, ledgers or files are not whole.
    """
    figures, items = material.figures, material.items
    found = answers.graded(items[figures.base], items[figures.final])
    several = len(figures.models) > 1
    outcome = figures.outcome()
    once = each_once([one.subject for one in outcome])
    return Facts(
        material=material,
        figures=figures,
        dimensions=dimensions(items, figures.models, figures.final),
        cards=[_card(one, material) for one in answers.choose(found)] if several else [],
        graded=len(found),
        tally={outcome.value: count for outcome, count in answers.tally(found).items()},
        forgotten=[
            Forgotten(one, costliest_stage(figures, one.subject))
            for one in outcome
            if one.subject in once and one.subject.metric.forgetting and several
        ],
        gate=_gate(material),
        benchmarks=material.benchmark_figures,
        calibration=_calibration(material),
        trained=trained(material.training),
        answered=answered(material.examinations, items, {label: one.words for label, one in material.settings.items()}),
        curves=[one for one in map(curve, material.training) if one is not None],
        flow=flow([*material.ledger, *material.training]),
        parity=parity(material.export.folder) if material.export is not None else None,
        diagnosis=sections.diagnosis(material.doctor) if material.doctor is not None else None,
        leaks=sections.leaks(material.leaks, material.exam.get("exam")) if material.leaks is not None else None,
        decoding=sections.decoding(material.decoding) if material.decoding is not None else None,
        speed=sections.speed(material.speed),
        judged=sections.judged(material.judge) if material.judge is not None else None,
    )


def _gate(material: Material) -> list[Checked]:
    """Return what the gate finds between base and final model; nothing of one model, or of two asked in unlike ways."""
    figures = material.figures
    before, after = material.models[figures.base], material.models[figures.final]
    examined = all((one.folder / "exam.json").is_file() for one in (before, after))
    comparable = examined and before.folder != after.folder and one_setting(before, after)
    return check(before, after) if comparable else []


def cut(text: object) -> Cut:
    """Return the beginning of a text."""
    plain = text if isinstance(text, str) else str(text)
    return Cut(plain, None) if len(plain) <= LONGEST_ANSWER else Cut(plain[:LONGEST_ANSWER], len(plain))


def _card(chosen: answers.Graded, material: Material) -> Card:
    labels = list(material.models)
    asked = material.items[labels[0]][chosen.subject][chosen.id]
    expected = asked.get("expected")
    return Card(
        chosen.subject,
        chosen.id,
        asked.get("dimension"),
        chosen.outcome.value,
        cut(asked.get("question", chosen.id)),
        cut(expected) if expected is not None else None,
        [_shown(label, material.items[label].get(chosen.subject, {}).get(chosen.id)) for label in labels],
    )


def _shown(label: str, item: Mapping[str, Any] | None) -> Shown:
    if item is None or item.get("answer") is None:
        return Shown(label, None, None, None, None)
    right, score, reason = answers.right(item), item.get("score"), item.get("reason")
    told = cut(reason) if reason and not right else None
    return Shown(label, right, float(score) if score is not None else None, cut(item["answer"]), told)


def _calibration(material: Material) -> dict[str, Calibration]:
    found = {}
    for label, items in material.items.items():
        rows = [row for by_id in items.values() for row in by_id.values()]
        try:
            told = choices(rows)
        except (ValueError, TypeError) as error:
            raise Failure(
                f"the likelihoods of the options of '{label}' cannot be read",
                found=str(error),
                hint="remove its folder and run again: the examination will be made anew",
            ) from error
        if told:
            found[label] = calibration(told)
    return found


def as_json(facts: Facts) -> dict[str, Any]:
    """Return what report.json holds: see the head of this module."""
    figures, material = facts.figures, facts.material
    stories = {code: story(figures, words) for code, words in LANGUAGES.items()}
    told = next(iter(stories.values()))
    others = [*figures.models[1:], *figures.controls]
    found: dict[str, Any] = {
        "format": FORMAT,
        "title": material.title,
        "page": material.page,
        "models": figures.models,
        "controls": figures.controls,
        "base": figures.base,
        "final": figures.final,
        "figures": [row._asdict() for row in figures.rows],
        "differences": [one for label in others for one in figures.differences(figures.base, label)],
        "summary": {code: one.sentences for code, one in stories.items()},
        "next_steps": {code: one.next_steps for code, one in stories.items()},
        "learnt": [one.subject for one in told.better],
        "lost": [one.subject for one in told.worse],
        "unclear": [one.subject for one in told.neither],
        "training_needed": _needed(material),
        "dimensions": facts.dimensions,
        "answers": {"count": facts.graded, "tally": facts.tally, "shown": facts.cards},
        "forgotten": {
            "lost": facts.tally["lost"],
            "could": facts.tally["lost"] + facts.tally["kept"],
            "figures": facts.forgotten,
        },
        "gate": [
            {
                **one.difference._asdict(),
                "margin": one.margin,
                "p": one.p,
                "floor": one.floor,
                "items_needed": one.items_needed,
                "lost": one.lost,
            }
            for one in facts.gate
        ],
        "benchmarks": _benchmarks(facts.benchmarks),
        "calibration": facts.calibration,
        "cost": {"training": facts.trained, "answering": facts.answered},
        "curves": [one._replace(points=thinned(one.points)) for one in facts.curves],
        "ledger": facts.flow if facts.flow.stages else None,
        "made": _made(material, LANGUAGES["en"]),
        "conditions": material.exam.get("conditions"),
        "parity": facts.parity,
        "doctor": facts.diagnosis,
        "leaks": facts.leaks,
        "decoding": facts.decoding,
        "speed": facts.speed,
        "judge": facts.judged,
    }
    empty: tuple[Any, ...] = (None, [], {})
    return {name: plain(value) for name, value in found.items() if value not in empty or name in ("title", "controls")}


def needed_verdict(needed: Enough) -> str:
    """Return "yes", or of the cheapest baseline that is not clearly worse: "enough", "maybe", or "untold"."""
    best = needed.found
    if best is None:
        return "yes"
    return "enough" if best.close else "maybe" if best.most <= TELLING else "untold"


def _needed(material: Material) -> dict[str, Any] | None:
    needed = material.needed
    if needed is None:
        return None
    return {
        "final": needed.final,
        "verdict": needed_verdict(needed),
        "enough": needed.found.label if needed.found is not None else None,
        "rivals": [
            {
                "label": one.label,
                "shots": one.setting.shots,
                "passages": one.setting.passages,
                "worse": one.worse,
                "close": one.close,
                "most": one.most,
                "differences": one.differences,
                "chances": one.chances,
            }
            for one in needed.rivals
        ],
    }


def _benchmarks(figures: Figures | None) -> dict[str, Any] | None:
    if figures is None:
        return None
    differences = [one for label in figures.models[1:] for one in figures.differences(figures.base, label)]
    return {"figures": [row._asdict() for row in figures.rows], "differences": differences}


def _made(material: Material, words: Words) -> dict[str, Any]:
    found = made(material.everything(), words)
    return {
        "steps": [
            {
                "title": found.titles[record.key],
                "folder": f"{record.step}-{record.key[:16]}",
                "seconds": record.seconds,
                "attempts": record.attempts,
                "finished": record.finished,
            }
            for record in found.records
        ],
        "versions": {package: told for package, told, _ in found.versions},
        "machines": found.hosts,
        "warnings": [{"step": title, "text": text} for title, text in found.warnings],
    }


def plain(value: Any) -> Any:
    """Return `value` as JSON can hold it: records as objects, enumerations as text, no number that is not finite."""
    if isinstance(value, Difference):
        told = {**value.subject._asdict(), **value._asdict(), "verdict": value.verdict}
        del told["subject"]
        return plain(told)
    if isinstance(value, BaseModel):
        return plain(value.model_dump())
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return {name: plain(item) for name, item in value._asdict().items()}
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
