"""What a judge's outcomes and grades come to: the figures of scores.json, the lines of verdicts.jsonl, the biases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from metier.core.types import Score
from metier.evaluate.judge.contest import Question
from metier.evaluate.judge.outcomes import Outcome, Pair, bias, shares
from metier.evaluate.judge.prompts import Side
from metier.evaluate.judge.strength import elo
from metier.evaluate.statistics import Interval, mean_of_clusters


class Graded(NamedTuple):
    """One answer and its grades, 1 to 5, by criterion."""

    question: Question
    label: str
    grades: Mapping[str, int]


def figures(outcomes: Sequence[Outcome], labels: Sequence[str], split: str, seed: int) -> list[Score]:
    """Return what each model won, tied and lost against all others, and its strength on the Elo scale."""
    found = []
    seen = [label for label in labels if any(label in one[1:3] for one in outcomes)]
    for label, strength in zip(seen, elo(outcomes, seen, seed=seed), strict=True):
        told = shares(outcomes, label)._asdict()
        found += [Score(f"judge_{name}", label, split, *interval) for name, interval in told.items()]
        found.append(Score("judge_elo", label, split, *strength))
    return found


def grades(
    graded: Mapping[str, Graded], criteria: Mapping[str, str], labels: Sequence[str], split: str, seed: int
) -> list[Score]:
    """Return each model's mean grade on every criterion, and over all of them, with intervals over clusters."""
    found = []
    for label in labels:
        own = [one for one in graded.values() if one.label == label]
        if not own:
            continue
        clusters = [one.question.cluster for one in own]
        columns = {name: [float(one.grades[name]) for one in own] for name in criteria}
        columns["all"] = [sum(one.grades.values()) / len(criteria) for one in own]
        for name, values in columns.items():
            found.append(Score(f"judge_grade_{name}", label, split, *mean_of_clusters(values, clusters, seed)))
    return found


def told(outcomes: Sequence[Outcome], labels: Sequence[str], ordered: bool) -> dict[str, Any]:
    """Return what order and length did, and each pair of models' shares, as JSON values.

    Args:
        ordered: whether answers were judged two at a time; else their order cannot have counted.
    """
    if not outcomes:
        return {}
    between = [
        {"first": first, "second": second, **_plain(shares(outcomes, first, second)._asdict())}
        for at, first in enumerate(labels)
        for second in labels[at + 1 :]
        if any({first, second} == {one.first, one.second} for one in outcomes)
    ]
    found = _plain(bias(outcomes)._asdict())
    return {"bias": found if ordered else {"longer_wins": found["longer_wins"]}, "pairs": between}


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value._asdict() if isinstance(value, Interval) else value for name, value in values.items()}


def pair_row(
    pair: Pair, verdicts: Sequence[Side | None], outcome: Outcome | None, reasons: Sequence[str]
) -> dict[str, Any]:
    """Return one line of verdicts.jsonl: both verdicts, the first given with `first` as A, and what they come to."""
    return {
        "id": pair.question.id,
        "question": pair.question.text,
        "first": pair.first,
        "second": pair.second,
        "first_answer": pair.question.answers[pair.first],
        "second_answer": pair.question.answers[pair.second],
        "verdicts": list(verdicts),
        "winner": None if outcome is None else outcome.winner or "tie",
        "leaning": None if outcome is None else outcome.leaning,
        "reason": reasons[0] if reasons else None,
    }


def grade_row(question: Question, label: str, grades: Mapping[str, int] | None, reason: str | None) -> dict[str, Any]:
    """Return one line of verdicts.jsonl: an answer and its grades, or why it has none."""
    return {
        "id": question.id,
        "question": question.text,
        "model": label,
        "answer": question.answers[label],
        "grades": dict(grades) if grades is not None else None,
        "reason": reason,
    }
