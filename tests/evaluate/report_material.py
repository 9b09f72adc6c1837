"""A finished workshop to report on, made up. `python -m tests.evaluate.report_material FOLDER` writes its page."""

from __future__ import annotations

import json
import math
import random
import sys
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from metier.core import Step, Work, Workshop
from metier.core.types import Conversations, Documents, Export, Model, Report, Scores
from metier.evaluate.report import WriteReport

HOSTILE = "<script>document.title='owned'</script><img src=http://example.com/x.png onerror=alert(1)>"

CONTROL = "general only"
SHARES = {
    ("multiple_choice", "held_out"): (160, {"base": 0.36, "cpt": 0.44, "sft": 0.47, "dpo": 0.475, CONTROL: 0.37}),
    ("execution", "seen_wording"): (120, {"base": 0.0, "cpt": 0.0, "sft": 0.71, "dpo": 0.733, CONTROL: 0.0}),
    ("execution", "new_wording"): (120, {"base": 0.0, "cpt": 0.0, "sft": 0.41, "dpo": 0.425, CONTROL: 0.0}),
    ("execution", "new_kind"): (120, {"base": 0.0, "cpt": 0.0, "sft": 0.15, "dpo": 0.1667, CONTROL: 0.0}),
    ("execution", "repair"): (120, {"base": 0.017, "cpt": 0.017, "sft": 0.808, "dpo": 0.825, CONTROL: 0.017}),
    ("sql_to_general_prompts", "general_prompts"): (
        32,
        {"base": 0.0, "cpt": 0.0, "sft": 0.0, "dpo": 0.0, CONTROL: 0.0},
    ),
}
PERPLEXITIES = {
    ("perplexity", "held_out"): (41, {"base": 12.96, "cpt": 10.02, "sft": 10.11, "dpo": 10.19, CONTROL: 12.21}),
    ("perplexity", "general"): (64, {"base": 20.11, "cpt": 17.12, "sft": 18.4, "dpo": 18.9, CONTROL: 16.8}),
    ("chat_reply_perplexity", "general_prompts"): (
        32,
        {"base": 2.04, "cpt": 2.31, "sft": 2.58, "dpo": 2.63, CONTROL: 2.28},
    ),
}
QUESTIONS = (
    ("How many hives were mended in each valley, most first?", "SELECT valley, COUNT(*) FROM hives GROUP BY valley;"),
    ("for the report: What is the mean wattage by condition?", "SELECT condition, AVG(wattage) FROM hives;"),
    ("Repair: SELEC name FROM keepers WHERE rebate > 10;", "SELECT name FROM keepers WHERE rebate > 10;"),
    ("Which keeper has no hive?", "SELECT name FROM keepers WHERE id NOT IN (SELECT keeper_id FROM hives);"),
)


def wilson(right: int, n: int) -> tuple[float, float]:
    """Return the 95% interval of a share (Wilson 1927)."""
    z, share = 1.96, right / n
    middle, half = share + z * z / (2 * n), z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, (middle - half) / (1 + z * z / n)), min(1.0, (middle + half) / (1 + z * z / n))


class FakeDocuments(Step[Documents]):
    """So many files came; some fell away."""

    name: ClassVar[str] = "fake-read"
    source: Step[Documents] | None = None
    came: int = 766
    dropped: dict[str, int] = Field(default={})

    def run(self, work: Work) -> None:
        kept = self.came - sum(self.dropped.values())
        unit, source = ("file", None) if self.source is None else ("document", "source")
        work.count(unit, self.came, kept, self.dropped, source=source, made={"document": kept})


class FakeConversations(Step[Conversations]):
    """Pairs out of documents."""

    name: ClassVar[str] = "fake-tasks"
    source: Step[Documents]

    def run(self, work: Work) -> None:
        documents = work.made(self.source).record.ledger.made("document") or 0
        work.count("document", documents, documents - 21, {"nothing to ask about": 21}, source="source")
        dropped = {"answer is in the question": 212, "statement does not run": 187}
        work.count("candidate pair", 1823, 1424, dropped, made={"conversation": 1424})


class FakeModel(Step[Model]):
    """A training with a loss curve."""

    name: ClassVar[str] = "fake-train"
    base: Step[Model] | None = None
    data: Step[Conversations] | None = None
    steps: int = 160
    first: float = 2.9
    last: float = 2.3
    fragile: bool = False

    def run(self, work: Work) -> None:
        draw = random.Random(self.steps)
        for step in range(1, self.steps + 1):
            share = step / self.steps
            value = self.last + (self.first - self.last) * math.exp(-4 * share) + draw.gauss(0, 0.06)
            if self.fragile and step == 7:
                value = math.nan
            work.event("log", step=step, tokens=2048 * step, loss=value, lr=2e-4 * (1 - share))
            if self.fragile and step == 90:
                for again in range(80, 90):
                    work.event("log", step=again, tokens=2048 * again, loss=2.5, lr=1e-4)
        if self.data is not None:
            work.count("conversation", 1424, 1419, {"longer than 512 tokens": 5}, source="data", made={"row": 388})
            work.count("token", 198_456, 198_456, made={"training token": 61_207})
        if self.fragile:
            work.warn("5 conversations are longer than a row: they were left out, not cut")


class FakeScores(Step[Scores]):
    """An examination of a made-up model, with answers."""

    name: ClassVar[str] = "fake-examine"
    model: Step[Model] | None = None
    label: str = "base"
    hostile: bool = False
    lose_answers: int = 0
    only: tuple[str, ...] = ()
    exam: str = "the same for all"

    def run(self, work: Work) -> None:
        scores, answers = [], []
        for (name, split), (n, values) in SHARES.items():
            if self.label not in values or (self.only and name not in self.only):
                continue
            rows = [self._answer(name, split, at, n, values[self.label]) for at in range(n)]
            right = sum(row["score"] for row in rows)
            low, high = wilson(round(right), n)
            scores.append(_score(name, split, right / n, low, high, n))
            answers += rows
        for (name, split), (n, values) in PERPLEXITIES.items():
            if self.label in values and (not self.only or name in self.only):
                rows = [self._reading(name, split, at, values[self.label]) for at in range(n)]
                units = [("perplexity_per_byte", "bytes")] if name == "perplexity" else []
                for figure, unit in [*units, (name, "tokens")]:
                    value = math.exp(sum(row["nats"] for row in rows) / sum(row[unit] for row in rows))
                    scores.append(_score(figure, split, value, value * 0.95, value * 1.053, n))
                answers += rows
        if not self.only:
            scores.append(_score("words_per_answer", "general_prompts", 31.25, None, None, None))
        if not self.only or "multiple_choice" in self.only:
            work.figure("multiple_choice_chance", 0.25)
        work.figure("conditions", {"decoding": {"temperature": 0.0, "max_tokens": 64}, "precision": "bfloat16"})
        exam = {"conditions": {}, "counts": {}, "digest": self.exam}
        (work.folder / "exam.json").write_text(json.dumps(exam))
        (work.folder / "scores.json").write_text(json.dumps(scores))
        kept = answers[: len(answers) - self.lose_answers]
        (work.folder / "answers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in kept))

    def _reading(self, name: str, split: str, at: int, perplexity: float) -> dict[str, Any]:
        tokens = 180 + at * 53 % 400
        # how hard a text is, it is for every model; the rest is the model's own
        hard, own = random.Random(f"{split}{at}").gauss(0, 0.1), random.Random(f"{self.label}{at}").gauss(0, 0.02)
        nats = tokens * math.log(perplexity) * (1 + hard + own)
        place = {"id": f"{split}/text {at}", "name": name, "split": split, "cluster": f"{split} {at // 2}"}
        return {**place, "nats": nats, "tokens": tokens, "bytes": tokens * 4}

    def _answer(self, name: str, split: str, at: int, n: int, share: float) -> dict[str, Any]:
        # the same order of difficulty for all models, a little shuffled: some items are lost again
        hard = (at * 37 % n) / n
        noise = random.Random(f"{self.label}{name}{split}{at}").gauss(0, 0.12) if share > 0 else 0.0
        right = hard + noise < share
        question, expected = QUESTIONS[at % len(QUESTIONS)]
        if name == "multiple_choice":
            question, expected = f"What does chapter {at} say?\nA. one\nB. two\nC. three\nD. four", "C"
        wrong = {"base": "To do this, you would first open the table and then count the rows. " * 14}
        answer = expected if right else wrong.get(self.label, "SELECT valey, COUNT(*) FROM hive;")
        if self.hostile and not right:
            answer = HOSTILE
        return {
            "id": f"{split}/{at}",
            "name": name,
            "split": split,
            "cluster": f"schema {at // 6}",
            "question": question,
            "expected": expected,
            "answer": answer,
            "score": 1.0 if right else 0.0,
            "reason": None if right else "no such column: valey",
        }


def _score(name: str, split: str, value: float, low: float | None, high: float | None, n: int | None) -> dict[str, Any]:
    return {
        "name": name,
        "model": "what the exam called it",
        "split": split,
        "value": value,
        "low": low,
        "high": high,
        "n": n,
    }


class FakeExport(Step[Export]):
    """An export that says what was compared."""

    name: ClassVar[str] = "fake-export"
    model: Step[Model]

    def run(self, work: Work) -> None:
        told = [
            {"file": "sqlite-f16.gguf", "divergence": 0.00003, "bound": 0.01, "agreement": 0.9991, "tokens": 1536},
            {"file": "sqlite-q8_0.gguf", "divergence": 0.0021, "bound": 0.05, "agreement": 0.97, "tokens": 1536},
        ]
        (work.folder / "parity.json").write_text(json.dumps(told))


def full_report(hostile: bool = False) -> WriteReport:
    """Return a report with everything a demo has."""
    read = FakeDocuments(dropped={"empty page": 4})
    noise = {"navigation or index": 198, "change log": 61, "mostly code listing": 12, "too short": 29}
    kept = FakeDocuments(source=read, came=762, dropped=noise)
    unique = FakeDocuments(source=kept, came=462, dropped={"exact duplicate": 3, "near duplicate": 25})
    tasks = FakeConversations(source=unique)
    base = FakeModel(steps=1)
    cpt = FakeModel(base=base, steps=160, first=2.9, last=2.31)
    sft = FakeModel(base=cpt, data=tasks, steps=1090, first=1.8, last=0.12, fragile=True)
    dpo = FakeModel(base=sft, steps=24, first=math.log(2), last=0.41)
    models = {"base": base, "cpt": cpt, "sft": sft, "dpo": dpo}
    return WriteReport(
        models={label: FakeScores(model=model, label=label, hostile=hostile) for label, model in models.items()},
        controls={"general only": FakeScores(model=base, label=CONTROL)},
        training=(cpt, sft, dpo),
        ledger=(tasks, unique, kept, read),
        export=FakeExport(model=dpo),
        title="A model that knows SQLite",
    )


def documents_only_report() -> WriteReport:
    """Return the report of a recipe without tasks that can be executed, on two models, with nothing else given."""
    only = ("multiple_choice", "perplexity", "chat_reply_perplexity")
    return WriteReport(models={label: FakeScores(label=label, only=only) for label in ("base", "cpt")})


def made(folder: Path, step: WriteReport) -> Report:
    """Make the report in a workshop at `folder`, its steps called as a recipe would."""
    steps: list[Step[Any]] = [step]
    for found in steps:
        steps += [held for inner in found.held().values() for held in inner]
    names = {id(found): called for found in steps if (called := CALLED.get(_hint(found)))}
    return Workshop(folder).make(step, names)


CALLED = {
    "fake-read 766": "pages",
    "fake-read 762": "useful",
    "fake-read 462": "unique",
    "fake-tasks": "tasks",
    "fake-train 1": "origin",
    "fake-train 160": "cpt",
    "fake-train 1090": "sft",
    "fake-train 24": "dpo",
    "fake-export": "export",
    **{
        f"fake-examine {label}": f"scores-{label.replace(' ', '-')}"
        for label in ("base", "cpt", "sft", "dpo", "general only")
    },
}


def _hint(step: Step[Any]) -> str:
    """Return what tells one made-up step from another."""
    if isinstance(step, FakeScores):
        return f"{step.name} {step.label}"
    number = getattr(step, "came", getattr(step, "steps", ""))
    return f"{step.name} {number}".strip()


if __name__ == "__main__":
    print(made(Path(sys.argv[1]), full_report(hostile="--hostile" in sys.argv)).folder)
