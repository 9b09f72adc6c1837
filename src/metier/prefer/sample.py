"""The step that makes preferences: several answers to a prompt, graded, the best against the worst."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from metier.core import Mistake, Step, Work
from metier.core.chat import Decoding, Reply
from metier.core.journal import append_to_journal, read_journal
from metier.core.scorers import answer_of, scorer_for
from metier.core.types import TRAIN, Conversation, Conversations, Model, Preference, Preferences
from metier.prefer.pairs import Graded, choose_pair, lint

if TYPE_CHECKING:
    from metier.core.progress import Bar

SAMPLES = "samples.jsonl"


class SamplePairs(Step[Preferences]):
    """Sample several answers to each prompt, grade them, and keep pairs with a real difference.

    Only rows of the split "train" that carry a check are asked. Samples are written down as they come: a killed step
    goes on with the next prompt.
    """

    name: ClassVar[str] = "sample-pairs"
    extras: ClassVar[tuple[str, ...]] = ("train",)

    model: Step[Model] = Field(description="The model whose answers are compared.")
    prompts: tuple[Step[Conversations], ...] = Field(
        description="Conversations with checks; their `train` rows are used."
    )
    prompts_limit: int = Field(160, ge=1, description="Prompts at the most, drawn by the seed.")
    samples: int = Field(4, ge=2, description="Answers to each prompt.")
    temperature: float = Field(0.8, gt=0, description="Temperature of the samples.")
    top_p: float = Field(0.95, gt=0, le=1, description="Nucleus share of the samples.")
    max_tokens: int = Field(64, ge=1, description="Most tokens of an answer.")
    min_difference: float = Field(0.3, gt=0, le=1, description="Least difference between the grades of a pair.")
    use_reference: bool = Field(
        False, description="Where all answers are wrong, choose the row's own answer over the commonest wrong one."
    )
    seed: int = Field(0, description="Seed of the choice of prompts and of the samples.")

    def run(self, work: Work) -> None:
        """Write the pairs, and say in the ledger what became of every prompt."""
        rows = self._prompts(work)
        samples = self._samples(work, rows)
        outcomes = [
            choose_pair(row, samples[f"{at} {row.id}"], self.min_difference, self.use_reference)
            for at, row in enumerate(rows)
        ]
        reasons = Counter(outcome.dropped for outcome in outcomes if outcome.dropped is not None)
        found = lint([outcome.pair for outcome in outcomes if outcome.pair is not None])
        for warning in found.warnings:
            work.warn(warning)
        if not found.kept:
            raise Mistake(
                "no prompt gave a pair with a real difference",
                found=", ".join(f"{count} x {reason}" for reason, count in reasons.items()) or None,
                hint="raise the temperature or the number of samples, lower min_difference, or set use_reference",
            )
        Preferences.write(work.folder, found.kept)
        dropped = {**reasons, **found.dropped}
        work.count("prompt", len(rows), len(found.kept), dropped, made={"pair": len(found.kept)})
        self._figures(work, samples, found.kept)
        work.figure("characters", {"chosen": found.chosen_characters, "rejected": found.rejected_characters})

    def _prompts(self, work: Work) -> list[Conversation]:
        rows: list[Conversation] = []
        came = Counter[str]()
        for step in self.prompts:
            for row in work.made(step).rows():
                reason = None if row.split == TRAIN else "held out"
                reason = reason or (None if row.check else "no check to grade an answer by")
                came[reason or "usable"] += 1
                if reason is None:
                    rows.append(row)
        if not rows:
            raise Mistake("no prompt can be graded", hint="give `prompts` conversations whose train rows have a check")
        rng = random.Random(self.seed)
        chosen = [rows[at] for at in sorted(rng.sample(range(len(rows)), min(self.prompts_limit, len(rows))))]
        del came["usable"]
        if len(rows) > len(chosen):
            came["more than prompts_limit"] = len(rows) - len(chosen)
        work.count(
            "conversation",
            len(chosen) + came.total(),
            len(chosen),
            came,
            source="prompts",
            made={"prompt": len(chosen)},
        )
        return chosen

    def _samples(self, work: Work, rows: Sequence[Conversation]) -> dict[str, list[Graded]]:
        log = work.folder / SAMPLES
        known = {id: [Graded(*answer) for answer in answers] for id, answers in read_journal(log)}
        left = [(f"{at} {row.id}", row) for at, row in enumerate(rows) if f"{at} {row.id}" not in known]
        with work.progress("sampling", len(rows), "prompts") as bar:
            bar.resume_at(len(rows) - len(left))
            if left:
                self._sample(work, left, known, log, bar)
        return known

    def _sample(
        self, work: Work, left: list[tuple[str, Conversation]], known: dict[str, list[Graded]], log: Path, bar: Bar
    ) -> None:
        from metier.core.engine import EngineChat

        def sampled(at: int, replies: list[Reply]) -> None:
            id, row = left[at]
            known[id] = [grade(row.check or {}, reply) for reply in replies]
            append_to_journal(log, [[id, known[id]]])
            bar.advance()

        chat = EngineChat(work.made(self.model).model_folder, work.host)
        decoding = Decoding(
            temperature=self.temperature,
            top_p=self.top_p,
            max_tokens=self.max_tokens,
            seed=self.seed,
            samples=self.samples,
        )
        chat.complete([row.messages[:-1] for _, row in left], decoding, sampled)

    def _figures(self, work: Work, samples: Mapping[str, Sequence[Graded]], pairs: Sequence[Preference]) -> None:
        grades = [answer.score for answers in samples.values() for answer in answers]
        work.figure("answers", len(grades))
        work.figure("mean_grade", sum(grades) / len(grades))
        work.figure("mean_difference", sum(pair.chosen_score - pair.rejected_score for pair in pairs) / len(pairs))
        work.figure("with_reference", sum(pair.reason.startswith("reference") for pair in pairs))


def grade(check: Mapping[str, Any], reply: Reply) -> Graded:
    """Return a reply with its grade."""
    score = scorer_for(str(check.get("scorer"))).score(check, answer_of(reply.text))
    return Graded(reply.text, score.value, score.reason, reply.finished)
