"""Public benchmarks beside the exam: the same models under the same labels, each held against the base."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from metier.core.errors import Mistake
from metier.core.types import Score, Scores
from metier.evaluate.report.figures import Compare, Difference, Figures
from metier.evaluate.report.metrics import Subject
from metier.evaluate.report.pairing import pairing


def figures(given: Sequence[Scores], models: Mapping[str, Scores]) -> Figures:
    """Return the figures of benchmarks, their models called as those of the exam; the base first where it was asked.

    A model is known by the key of the step that made it; one that sat no exam keeps the name the benchmark gives it.

    Raises:
        Mistake: one model sat a benchmark twice, or two models sat one unlike the other.
    """
    labels: dict[str, str] = {}
    for label, scores in models.items():
        for key in _model(scores):
            labels.setdefault(key, label)  # the plain one comes before those with examples or passages
    by_label: dict[str, list[Scores]] = {}
    for scores in given:
        names = [labels[key] for key in _model(scores) if key in labels]
        by_label.setdefault(names[0] if names else scores.figures()[0].model, []).append(scores)
    places = {label: at for at, label in enumerate(models)}
    ordered = dict(sorted(by_label.items(), key=lambda pair: places.get(pair[0], len(places))))
    rows = {label: _once(label, own) for label, own in ordered.items()}
    found = Figures(rows)
    found.compare = _compare(ordered)
    return found


def _model(scores: Scores) -> Sequence[str]:
    return scores.record.inputs.get("model", [])


def _once(label: str, given: Sequence[Scores]) -> list[Score]:
    rows: dict[Subject, Score] = {}
    for scores in given:
        for row in scores.figures():
            if Subject(row.name, row.split) in rows:
                raise Mistake(
                    f"'{label}' has {row.name} ({row.split}) from two benchmark steps",
                    found=", ".join(one.folder.name for one in given),
                    hint="name one of them in the report's `benchmarks`",
                )
            rows[Subject(row.name, row.split)] = row
    return list(rows.values())


def _compare(by_label: Mapping[str, Sequence[Scores]]) -> Compare:
    """Return a function that pairs two models item by item, where both have a benchmark with its items."""

    def measured(scores: Scores) -> set[Subject]:
        return {Subject(row.name, row.split) for row in scores.figures()}

    def itemised(scores: Scores) -> bool:
        answers = scores.folder / "answers.jsonl"  # empty where all metrics are of all answers together, as BLEU is
        return (scores.folder / "exam.json").is_file() and not (answers.is_file() and answers.stat().st_size == 0)

    def compare(reference: str, model: str) -> Mapping[Subject, Difference | None]:
        found: dict[Subject, Difference | None] = {}
        for before in by_label[reference]:
            for after in by_label[model]:
                if itemised(before) and itemised(after) and measured(before) & measured(after):
                    found.update(pairing({reference: before, model: after})(reference, model))
        return found

    return compare
