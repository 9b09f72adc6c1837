"""Executed tasks answered by sampling, as GRPO's own answers are, and not greedily as in the exam."""

from __future__ import annotations

import random
from typing import ClassVar

from metier.core import Step, Work
from metier.core.chat import Decoding, Reply
from metier.core.files import write_json_atomic
from metier.core.scorers import scorer_for
from metier.core.types import TRAIN, Conversation, Conversations, Model, Scores
from metier.evaluate.answer_log import AnswerLog, Place
from metier.evaluate.execution import accuracies
from metier.evaluate.material import sample_rows

SAMPLED = "execution_sampled"


class Sampled(Step[Scores]):
    """Draw answers to held-out tasks at temperature 1; an item's grade is the share of its answers that are right."""

    name: ClassVar[str] = "benchmark-sampled"
    model: Step[Model]
    tasks: Step[Conversations]
    per_split: int = 40
    samples: int = 4

    def run(self, work: Work) -> None:
        """Write answers.jsonl and scores.json."""
        from metier.core.engine import EngineChat

        rows = self._rows(work)
        log = AnswerLog(work.folder / "answers.jsonl")
        left = [row for row in rows if _place(row) not in log]

        def answered(at: int, replies: list[Reply]) -> None:
            row, check = left[at], left[at].check or {}
            scorer = scorer_for(str(check["scorer"]))
            grades = [scorer.score(check, reply.text).value for reply in replies]
            told = {"cluster": row.cluster, "score": sum(grades) / len(grades), "answers": [r.text for r in replies]}
            log.add({**_place(row)._asdict(), **told})

        if left:
            chat = EngineChat(work.made(self.model).model_folder, work.host)
            decoding = Decoding(temperature=1.0, max_tokens=64, samples=self.samples)
            chat.complete([row.messages[:-1] for row in left], decoding, answered)
        graded = log.finish(map(_place, rows))
        figures = accuracies(graded, self.model.name)
        write_json_atomic(work.folder / "scores.json", [figure._asdict() for figure in figures])
        work.count("task", len(rows), len(rows), made={"graded item": len(rows)})

    def _rows(self, work: Work) -> list[Conversation]:
        splits: dict[str, list[Conversation]] = {}
        for row in work.made(self.tasks).rows():
            if row.split != TRAIN:
                splits.setdefault(row.split, []).append(row)
        rng = random.Random(0)
        return [row for rows in splits.values() for row in sample_rows(rows, self.per_split, rng)]


def _place(row: Conversation) -> Place:
    return Place(SAMPLED, row.split, row.id)
