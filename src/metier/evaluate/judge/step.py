"""The step that lets a model judge the answers of others."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from metier.core import LocalPath, Mistake, Step, Work
from metier.core.chat import Chat, Decoding, Endpoint
from metier.core.errors import Failure
from metier.core.files import write_json_atomic, write_text_atomic
from metier.core.types import Model, Score, Scores
from metier.evaluate.judge import findings
from metier.evaluate.judge.agreement import Agreement, agreement, read_labels
from metier.evaluate.judge.asking import Ask, Heard, by_engine, by_requests, hear
from metier.evaluate.judge.contest import Question, read_contest
from metier.evaluate.judge.outcomes import Outcome, bias, by_grades, is_same, pairs, settled
from metier.evaluate.judge.prompts import Side, ask_grades, ask_pair, read_grades, read_winner

_CRITERIA = {
    "correctness": "what it says is right, and nothing in it is wrong",
    "completeness": "it answers all of what was asked",
    "clarity": "it is easy to follow and says nothing that was not asked",
}


class Judge(Step[Scores]):
    """Let a model judge the answers that examined models gave to one exam: by pairs, each in both orders, or by rubric.

    Every reply is written down as it comes, so a killed run, or one whose judge did not answer, goes on with the next.
    With labels by people, Cohen's kappa says whether the judge is to be trusted, and without any it is not where it
    contradicts itself when answers change places; every figure carries the answer in its split: "pairwise",
    "pairwise_unvalidated" or "pairwise_not_trusted".
    """

    name: ClassVar[str] = "judge"
    extras: ClassVar[tuple[str, ...]] = ("evaluate",)

    models: dict[str, Step[Scores]] = Field(description="What `examine` made of each model, by label; of one exam.")
    endpoint: Endpoint | None = Field(None, description="The judge, as an OpenAI-compatible endpoint.")
    model: Step[Model] | None = Field(None, description="The judge, as a model that answers in this process.")
    way: Literal["pairwise", "rubric"] = Field(
        "pairwise", description="Two answers at a time, or one by grades 1 to 5."
    )
    criteria: dict[str, str] = Field(_CRITERIA, description="What counts: a name and its meaning each.")
    figures: tuple[str, ...] = Field((), description="Judge only the answers of these figures; all in words if empty.")
    limit: int | None = Field(None, ge=1, description="Judge only so many questions, drawn by `seed`.")
    reference: bool = Field(True, description="Show the judge the exam's own answer where it has one.")
    labels: LocalPath | None = Field(None, description="Labels by people, CSV or JSONL: id, first, second, winner.")
    min_kappa: float = Field(0.4, ge=-1, le=1, description="Least agreement with people at which the judge is trusted.")
    max_disagreed: float = Field(
        0.5, gt=0, le=1, description="Share of pairs decided otherwise in the other order at which it is not trusted."
    )
    max_tokens: int = Field(300, ge=1, description="Most tokens of one reply of the judge.")
    requests_at_once: int = Field(4, ge=1, le=64, description="Requests to the endpoint at a time.")
    seed: int = Field(0, ge=0, description="Seed of the drawn questions and of the intervals.")

    @model_validator(mode="after")
    def _one_judge(self) -> Judge:
        if (self.endpoint is None) == (self.model is None):
            raise ValueError("a judge is wanted: either `endpoint` or `model`")
        if len(self.models) < (2 if self.way == "pairwise" else 1):
            raise ValueError("`models` names too few: two are compared, one can only be graded")
        if not self.criteria:
            raise ValueError("`criteria` names none")
        return self

    def run(self, work: Work) -> None:
        """Write scores.json, verdicts.jsonl (one line a pair or graded answer) and judge.json."""
        examined = {label: work.made(step) for label, step in self.models.items()}
        people = read_labels(self.labels.path, list(self.models)) if self.labels is not None else []
        questions = read_contest(examined, self.figures, self.limit, self.seed)
        ask, labels = self._ask(work), list(self.models)
        judged = self._pairwise if self.way == "pairwise" else self._rubric
        outcomes, graded = judged(work, ask, questions, labels)
        agreed = agreement(outcomes, people, self.seed) if people and outcomes else None
        split, trust = self._trust(work, agreed)
        if self.way == "pairwise" and self._contradicts(work, outcomes):
            split, trust = f"{self.way}_not_trusted", trust | {"trusted": False}
        if self.way == "pairwise":
            trust["max_disagreed"] = self.max_disagreed
        figures: list[Score] = []
        if graded:
            figures += findings.grades(graded, self.criteria, labels, split, self.seed)
        if outcomes:
            figures += findings.figures(outcomes, labels, split, self.seed)
        write_json_atomic(work.folder / "scores.json", [_finite(figure)._asdict() for figure in figures])
        told = findings.told(outcomes, labels, ordered=self.way == "pairwise")
        write_json_atomic(work.folder / "judge.json", {**trust, **told, "criteria": self.criteria, "way": self.way})
        for name, value in {**trust, **told}.items():
            work.figure(name, value)
        work.figure("judge", self._called())
        work.figure("decoding", self._decoding.model_dump())
        for figure in figures:
            work.figure(f"{figure.name}/{figure.model}", round(figure.value, 4))

    @property
    def _decoding(self) -> Decoding:
        return Decoding(max_tokens=self.max_tokens)

    def _called(self) -> str:
        return self.endpoint.model if self.endpoint is not None else str(self.model and self.model.name)

    def _ask(self, work: Work) -> Ask:
        if self.model is not None:
            from metier.core.engine import EngineChat

            return by_engine(EngineChat(work.made(self.model).model_folder, work.host), self._decoding)
        return by_requests(self._client(), self._decoding, self.requests_at_once)

    def _client(self) -> Chat:
        from metier.core.chat import OpenAIChat
        from metier.core.extras import missing_packages

        if missing := missing_packages("teacher"):
            found = f"not installed: {', '.join(missing)}"
            raise Mistake("an endpoint as judge needs metier[teacher]", found, hint="pip install 'metier[teacher]'")
        assert self.endpoint is not None  # no model, so there is one
        return OpenAIChat(self.endpoint)

    def _pairwise(
        self, work: Work, ask: Ask, questions: Sequence[Question], labels: Sequence[str]
    ) -> tuple[list[Outcome], dict[str, findings.Graded]]:
        every = list(pairs(questions, labels))
        asked = {}
        for pair in every:
            if not is_same(pair):
                straight, swapped = pair.keys
                asked[straight] = ask_pair(pair.question, pair.first, pair.second, self.criteria, self.reference)
                asked[swapped] = ask_pair(pair.question, pair.second, pair.first, self.criteria, self.reference)
        with work.progress("judging", len(asked), "requests") as bar:
            heard: Heard[Side] = hear(ask, asked, read_winner, work.folder / "replies.jsonl", bar.advance)
        outcomes, rows, dropped = [], [], Counter[str]()
        for pair in every:
            outcome = settled(pair, heard.verdicts)
            reasons = [heard.silent[key] for key in pair.keys if key in heard.silent]
            if outcome is not None:
                outcomes.append(outcome)
            else:
                dropped[reasons[0]] += 1
            verdicts = [heard.verdicts.get(key) for key in pair.keys]
            rows.append(findings.pair_row(pair, verdicts, outcome, reasons))
        self._count(work, "pair", len(every), len(outcomes), dropped, heard.refused)
        _write(work, rows)
        return outcomes, {}

    def _rubric(
        self, work: Work, ask: Ask, questions: Sequence[Question], labels: Sequence[str]
    ) -> tuple[list[Outcome], dict[str, findings.Graded]]:
        every = {f"{question.key} {label}": (question, label) for question in questions for label in labels}
        asked = {
            key: ask_grades(question, label, self.criteria, self.reference) for key, (question, label) in every.items()
        }
        with work.progress("judging", len(asked), "requests") as bar:
            heard = hear(
                ask, asked, lambda text: read_grades(text, self.criteria), work.folder / "replies.jsonl", bar.advance
            )
        graded = {key: findings.Graded(*every[key], heard.verdicts[key]) for key in every if key in heard.verdicts}
        self._count(work, "answer", len(every), len(graded), Counter(heard.silent.values()), heard.refused)
        _write(
            work,
            [
                findings.grade_row(question, label, heard.verdicts.get(key), heard.silent.get(key))
                for key, (question, label) in every.items()
            ],
        )
        settled_pairs = (by_grades(pair, heard.verdicts) for pair in pairs(questions, labels))
        return [outcome for outcome in settled_pairs if outcome is not None], graded

    def _count(self, work: Work, unit: str, came: int, kept: int, dropped: Counter[str], refused: str | None) -> None:
        if kept == 0:
            raise Failure(
                "the judge gave no verdict at all",
                found="; ".join(f"{count:,} {reason}" for reason, count in dropped.items()),
                hint=f"read {work.folder / 'replies.jsonl'}; a larger model, or more `max_tokens`, may help",
            )
        work.count(unit, came, kept, dropped, made={f"judged {unit}": kept})
        if dropped:
            words = f"; the endpoint refused requests: {refused}" if refused else ""
            work.warn(f"{came - kept:,} of {came:,} {unit}s have no verdict; they are in no figure{words}")

    def _trust(self, work: Work, agreed: Agreement | None) -> tuple[str, dict[str, Any]]:
        """Return the split that marks every figure, and what is told of the judge's agreement with people."""
        if agreed is None:
            work.warn("the judge is unvalidated: no labels by people were given to hold it against")
            return f"{self.way}_unvalidated", {"trusted": None, "agreement": None}
        kappa = agreed.kappa
        told = {
            "kappa": None if kappa is None else {**kappa._asdict(), "low": _end(kappa.low), "high": _end(kappa.high)},
            "min_kappa": self.min_kappa,
            "agreed": agreed.agreed,
            "labels": agreed.labels,
            "unmatched_labels": agreed.unmatched,
        }
        shown = "not to be told" if kappa is None else f"{kappa.value:.2f} [{kappa.low:.2f}, {kappa.high:.2f}]"
        words = f"agreement with {agreed.labels} labels by people: Cohen's kappa {shown}"
        trusted = agreed.trusted(self.min_kappa)
        if trusted:
            work.say(words)
            return self.way, {"trusted": True, "agreement": told}
        work.warn(f"the judge is not to be trusted: {words}; {self.min_kappa:g} and clearly above chance is wanted")
        return f"{self.way}_not_trusted", {"trusted": False, "agreement": told}

    def _contradicts(self, work: Work, outcomes: Sequence[Outcome]) -> bool:
        """Whether the judge decided too many pairs otherwise in the other order, of which it then warns."""
        found = bias(outcomes)
        share = found.disagreed
        if share is None or share.value < self.max_disagreed:
            return False
        work.warn(
            f"the judge contradicts itself: {share.value:.0%} of {share.n:,} pairs were decided otherwise when the "
            f"answers changed places ({found.for_first:,} both times for the first, {found.for_second:,} for the "
            f"second, {found.mixed:,} once a tie), as half of a coin's would be; its figures are no finding: take a "
            "larger judge, or `way: rubric`"
        )
        return True


def _write(work: Work, rows: Sequence[Mapping[str, Any]]) -> None:
    import json

    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    write_text_atomic(work.folder / "verdicts.jsonl", "".join(lines))


def _end(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _finite(figure: Score) -> Score:
    """Return the figure without the ends of its interval where one question cannot give any."""
    if figure.low is None or figure.high is None or not math.isfinite(figure.high - figure.low):
        return figure._replace(low=None, high=None)
    return figure
