"""The questions that several models have answered in one exam, with all their answers side by side."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from metier.core.errors import Failure, Mistake
from metier.core.types import Scores
from metier.evaluate.answer_log import AnswerLog
from metier.evaluate.choices import NAME as CHOSEN
from metier.evaluate.examine import IN_SQL


class Question(NamedTuple):
    """One question with each model's answer, by label. `key` tells it from all others of the exam."""

    key: str
    id: str
    cluster: str
    text: str
    expected: str | None
    answers: Mapping[str, str]


def read_contest(
    examined: Mapping[str, Scores], figures: Sequence[str] = (), limit: int | None = None, seed: int = 0
) -> list[Question]:
    """Return the questions answered in words, in the exam's order.

    Args:
        figures: only the questions of these figures of the exam; all if empty. Options that were chosen by likelihood
            are no answers.
        limit: at most so many questions, drawn by `seed`.

    Raises:
        Mistake: the models sat unlike exams, a figure is unknown, or no question was answered in words.
        Failure: an answer of one model is missing.
    """
    _one_exam(examined)
    logs = {label: AnswerLog(scores.folder / "answers.jsonl").rows for label, scores in examined.items()}
    first = next(iter(logs.values()))
    told = [place for place, row in first.items() if place.name != CHOSEN and {"question", "answer"} <= row.keys()]
    known = dict.fromkeys(place.name for place in told)
    if unknown := [name for name in figures if name not in known]:
        raise Mistake(
            f"no question of '{unknown[0]}' was answered in words",
            found=", ".join(known) or "no figure with answers",
            hint="name figures whose answers.jsonl holds questions and answers",
        )
    places = [place for place in told if not figures or place.name in figures]
    if not places:
        raise Mistake("the exam has no question that is answered in words", hint="give the exam tasks or an origin")
    if limit is not None and limit < len(places):
        places = [places[at] for at in sorted(random.Random(seed).sample(range(len(places)), limit))]
    found = []
    for place in places:
        row = first[place]
        answers = {label: _answer(label, rows.get(place), place.id) for label, rows in logs.items()}
        cluster = str(row.get("cluster") or row["id"])
        # What a model of the exam's own answered to a general prompt is no reference for others.
        expected = None if place.name == IN_SQL else row.get("expected")
        found.append(Question("/".join(place), place.id, cluster, row["question"], expected, answers))
    return found


def _answer(label: str, row: Mapping[str, Any] | None, id: str) -> str:
    if row is None or not isinstance(row.get("answer"), str):
        raise Failure(f"the answer of '{label}' to '{id}' is missing", hint="remove its folder and run again")
    return str(row["answer"])


def _one_exam(examined: Mapping[str, Scores]) -> None:
    cards: dict[str, Any] = {}
    for label, scores in examined.items():
        try:
            cards[label] = json.loads((scores.folder / "exam.json").read_text())
        except (OSError, ValueError) as error:
            raise Mistake(
                f"'{label}' is no examination by an exam",
                found=f"no readable exam.json in {scores.folder.name}",
                hint="name what `examine` steps have made",
            ) from error
    (first, card), *others = cards.items()
    for label, other in others:
        if other != card:
            raise Mistake(
                "answers to unlike exams cannot be judged against each other",
                found=f"the exams of '{first}' and '{label}' differ",
                hint="examine both models with the same step and the same questions",
            )
