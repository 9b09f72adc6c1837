"""Seven models with their baselines, and all that other steps can add, made up for the report.

`python -m tests.evaluate.report_seven FOLDER [--items 600] [--language zh] [--two]` writes the page.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import struct
from pathlib import Path
from typing import Any, ClassVar, Literal

from metier.core import Artifact, Step, Work, Workshop
from metier.core.types import Model, Report, Scores
from metier.evaluate.execution import accuracies
from metier.evaluate.judge import findings
from metier.evaluate.judge.contest import Question
from metier.evaluate.judge.outcomes import Outcome
from metier.evaluate.perplexity import perplexities
from metier.evaluate.report import WriteReport

DIMENSIONS = ("terminology", "syntax", "disambiguation", "understanding", "reasoning", "task: clause drafting")
ABILITY = {
    "base": (0.30, 0.42, 0.31, 0.44, 0.33, 0.08),
    "base+few-shot": (0.33, 0.52, 0.36, 0.47, 0.35, 0.31),
    "base+RAG": (0.62, 0.45, 0.52, 0.61, 0.36, 0.18),
    "CPT": (0.55, 0.50, 0.47, 0.50, 0.37, 0.12),
    "SFT": (0.60, 0.71, 0.55, 0.60, 0.42, 0.66),
    "DPO": (0.61, 0.72, 0.57, 0.62, 0.43, 0.71),
    "DPO+RAG": (0.80, 0.73, 0.70, 0.76, 0.47, 0.76),
}
SETTINGS = {"base+few-shot": (5, 0), "base+RAG": (0, 4), "DPO+RAG": (0, 4)}
TEXTS = {"base": (13.1, 19.8, 2.05), "CPT": (9.6, 20.9, 2.31), "SFT": (9.9, 21.6, 2.52), "DPO": (10.0, 21.7, 2.6)}
QUESTIONS = (
    "Which of these best describes an indemnity that survives termination?",
    "A supplier may assign the agreement to an affiliate. What must it do first?",
    "What does “time is of the essence” change about a late delivery?",
    "Which party bears the risk while the goods are at sea under FOB?",
)
OPTIONS = (
    "An obligation to make good a loss that goes on binding after the contract has ended",
    "A promise that lapses as soon as the last payment has been made under the contract",
    "A right to end the contract at will if the other side has been late with a payment",
    "A term that the courts will read into a contract where nothing has been said of it",
)


class ToyModel(Step[Model]):
    """A training that cost something, with weights of one tensor."""

    name: ClassVar[str] = "toy-train"
    base: Step[Model] | None = None
    steps: int = 0

    def run(self, work: Work) -> None:
        folder = work.folder / "model"
        folder.mkdir(exist_ok=True)
        header = json.dumps({"w": {"dtype": "BF16", "shape": [3585, 2_097_152], "data_offsets": [0, 0]}}).encode()
        (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
        draw = random.Random(self.steps)
        for step in range(1, self.steps + 1):
            loss = 1.4 + 1.2 * math.exp(-5 * step / self.steps) + draw.gauss(0, 0.03)
            work.event("log", step=step, tokens=131_072 * step, loss=loss, lr=2e-5 * (1 - step / self.steps))
        work.figure("tokens", 131_072 * self.steps)
        work.figure("tokens_per_second", 2140.5)
        work.figure("peak_memory_bytes", 61_300_000_000)
        work.figure("predicted_memory_bytes", 58_900_000_000)


class Sitting(Step[Scores]):
    """An examination in the real files' form: choices with likelihoods, drafted clauses, losses, general prompts."""

    name: ClassVar[str] = "toy-examine"
    model: Step[Model]
    label: str
    items: int = 600
    exam: str = "law"
    old: bool = False  # as it was written before there were dimensions, settings and likelihoods

    def run(self, work: Work) -> None:
        rows = [self._row(at) for at in range(self.items)]
        shots, passages = SETTINGS.get(self.label, (0, 0))
        losses: list[dict[str, Any]] = []
        if self.label in TEXTS:
            for place, value in zip(_READ, TEXTS[self.label], strict=True):
                losses += [self._loss(*place, at, value) for at in range(48)]
        scores = [one._asdict() for one in [*perplexities(losses, self.label), *accuracies(rows, self.label)]]
        setting = {"shots": shots, "passages": passages, "skipped": _SKIPPED if shots or passages else ()}
        exam = {"digest": self.exam, "counts": {}, "conditions": {}}
        written = {"scores.json": scores, "exam.json": exam} | ({} if self.old else {"setting.json": setting})
        for name, content in written.items():
            (work.folder / name).write_text(json.dumps(content))
        (work.folder / "answers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [*rows, *losses]))
        work.figure("multiple_choice_chance", 0.25)
        work.figure("exam", self.exam)
        work.figure("conditions", {"decoding": {"temperature": 0.0, "max_tokens": 128}, "precision": "bfloat16"})

    def _loss(self, name: str, split: str, at: int, perplexity: float) -> dict[str, Any]:
        tokens = 200 + at * 53 % 400
        nats = tokens * (math.log(perplexity) + random.Random(f"{split}{at}").gauss(0, 0.1))
        own = random.Random(f"{self.label}{split}{at}").gauss(0, 0.01)
        place = {"name": name, "split": split, "id": f"{split}/{at}", "cluster": f"{split} {at // 2}"}
        return {**place, "nats": nats * (1 + own), "tokens": tokens, "bytes": 4 * tokens}

    def _row(self, at: int) -> dict[str, Any]:
        kind = at % len(DIMENSIONS)
        own = random.Random(f"{self.label}{at}")
        # an item is as hard for every model; one in seven goes its own way
        hard = random.Random(f"item {at}").random()
        luck = own.random() if own.random() < 0.15 else hard
        right = luck < ABILITY[self.label][kind]
        task = DIMENSIONS[kind].startswith("task")
        row: dict[str, Any] = {
            "name": "agreement" if task else "multiple_choice",
            "split": "held_out",
            "id": f"contract-{at // 5:03d}#{at}",
            "cluster": f"contract-{at // 5:03d}",
            "question": f"{QUESTIONS[at % 4]} ({at})",
            "score": float(right),
        }
        if not self.old:
            row["dimension"] = DIMENSIONS[kind]
        if task:
            row |= {
                "expected": "The obligations in clause 9 survive termination for two years.",
                "tokens": 40 + at % 30,
            }
            row["answer"] = row["expected"] if right else "Clause 9 ends with this agreement. " * (1 + at % 20)
            row["reason"] = None if right else "says the opposite of the document"
            return row
        answer = at % 4
        chosen = answer if right else (answer + 1 + at % 3) % 4
        sure = min(0.97, max(0.28, own.gauss(0.62 + 0.25 * (ABILITY[self.label][kind] - 0.4), 0.16)))
        shares = [(1 - sure) / 3] * 4
        shares[chosen] = sure
        lengths = [len(option) for option in OPTIONS]
        mean = sum(lengths) / 4
        row |= {"expected": OPTIONS[answer], "answer": OPTIONS[chosen], "reason": None}
        if self.old:
            return row
        return row | {
            "option_nats": [
                round(math.log(p) * size / mean - size, 4) for p, size in zip(shares, lengths, strict=True)
            ],
            "option_bytes": lengths,
        }


_READ = (("perplexity", "held_out"), ("perplexity", "general"), ("chat_reply_perplexity", "general_prompts"))
_SKIPPED = ("perplexity", "chat_reply_perplexity")


class Benchmark(Step[Scores]):
    """Public benchmarks of one model, some forgotten."""

    name: ClassVar[str] = "toy-benchmark"
    model: Step[Model]
    label: str
    drop: float = 0.0

    def run(self, work: Work) -> None:
        rows = []
        for name, share in BENCHMARKS.items():
            for at in range(160):
                hard = (at * 67 % 160) / 160
                lost = random.Random(f"{self.label}{name}{at}").random() < self.drop
                score = float(hard < share and not lost)
                rows.append({"name": name, "split": "acc", "id": str(at), "cluster": None, "score": score})
        (work.folder / "answers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        (work.folder / "exam.json").write_text(json.dumps({"digest": "benchmarks", "counts": {}, "conditions": {}}))
        figures = [one._asdict() for one in accuracies(rows, self.label)]
        (work.folder / "scores.json").write_text(json.dumps(figures))


BENCHMARKS = {"mmlu": 0.61, "hellaswag": 0.77, "gsm8k": 0.44}


class Judged(Step[Scores]):
    """A judge that was checked against people."""

    name: ClassVar[str] = "toy-judge"
    models: dict[str, Step[Scores]]
    trusted: bool | None = True

    def run(self, work: Work) -> None:
        labels, draw = list(self.models), random.Random(5)
        outcomes = []
        for at in range(40):
            answers = {label: f"{label} answers {'at length ' * draw.randint(1, 5)}" for label in labels}
            question = Question(f"agreement/{at}", str(at), f"c{at // 4}", "?", None, answers)
            for i, first in enumerate(labels):
                for second in labels[i + 1 :]:
                    gap = sum(ABILITY[second]) - sum(ABILITY[first])
                    won = 1 / (1 + math.exp(-gap))
                    winner = None if draw.random() < 0.15 else second if draw.random() < won else first
                    outcomes.append(Outcome(question, first, second, winner, None if winner else "A"))
        figures = [one._asdict() for one in findings.figures(outcomes, labels, "pairwise", 0)]
        agreement = {"kappa": {"value": 0.63, "low": 0.51, "high": 0.74, "n": 120}, "min_kappa": 0.4, "labels": 120}
        told = {"trusted": self.trusted, "agreement": agreement if self.trusted is not None else None}
        (work.folder / "scores.json").write_text(json.dumps(figures))
        (work.folder / "judge.json").write_text(json.dumps({**told, **findings.told(outcomes, labels, ordered=True)}))
        work.figure("judge", "the large model next door")


class Written(Step[Artifact]):
    """A step of another kind, as it stands in its file; a leak check has a second one."""

    name: ClassVar[str] = "toy-written"
    file: str
    told: dict[str, Any]
    leaks: tuple[dict[str, Any], ...] = ()

    def run(self, work: Work) -> None:
        (work.folder / self.file).write_text(json.dumps(self.told))
        if self.leaks:
            (work.folder / "leaks.jsonl").write_text("".join(json.dumps(leak) + "\n" for leak in self.leaks))


DIAGNOSIS: dict[str, Any] = {
    "version": 1,
    "model": "DPO",
    "against": "base",
    "healthy": False,
    "level": 0.05,
    "faults": [
        {
            "fault": name,
            "title": name,
            "found": name == "repetition",
            "checked": name != "contamination",
            "words": "no training data were given"
            if name == "contamination"
            else "9.2% of 320 answers loop, 1.1% of the base's; at most 5 points more are tolerated",
            "measured": {"repetition": 0.081, "contamination": None}.get(name, 0.004),
            "bound": None if name == "contamination" else 0.05,
            "unit": "relative rise" if name == "forgetting" else "points of share",
            "interval": {"repetition": [0.052, 0.116], "contamination": None}.get(name, [-0.011, 0.019]),
            "n": None if name == "contamination" else 320,
            "evidence": [
                {
                    "where": "agreement/held_out/contract-007#41",
                    "said": "Clause 9 ends. Clause 9 ends. Clause 9 ends.",
                    "expected": None,
                    "why": "ends in 'Clause 9 ends.' 9 times",
                }
            ]
            if name == "repetition"
            else [],
            "remedy": {
                "kind": "deduplicate",
                "why": "What is trained on says the same many times over: take the copies out, and train more gently.",
                "changes": [
                    {
                        "insert": {"name": "corpus-unique", "entry": {"step": "dedup", "corpus": "$corpus"}},
                        "after": "corpus",
                    },
                    {"step": "cpt", "field": "corpus", "from": "$corpus", "to": "$corpus-unique"},
                    {"step": "dpo", "field": "learning_rate", "from": 1e-6, "to": 5e-7},
                ],
            }
            if name == "repetition"
            else None,
        }
        for name in (
            "repetition",
            "missing_end_token",
            "forgetting",
            "contamination",
            "length_drift",
            "refusal_drift",
            "format_drift",
        )
    ],
}


def _candidate(temperature: float, value: float, items: int, dropped: int | None) -> dict[str, Any]:
    decoding = {"temperature": temperature, "top_p": 0.9, "top_k": 0, "repetition_penalty": 1.05, "max_tokens": 256}
    minus = {"value": value - 0.714, "low": value - 0.714 - 0.02, "high": value - 0.714 + 0.02}
    return {
        "decoding": decoding,
        "rounds": 3,
        "items": items,
        "value": value,
        "low": value - 0.04,
        "high": value + 0.04,
        "minus_best": minus if dropped is not None else None,
        "dropped_after_round": dropped,
    }


SEARCH: dict[str, Any] = {
    "winner": _candidate(0.3, 0.714, 480, None)["decoding"],
    "greedy_kept": False,
    "confirmed": {"items": 240, "greedy": 0.688, "best": 0.721, "noise": 0.041},
    "metric": "mean grade",
    "candidates": [
        _candidate(0.3, 0.714, 480, None),
        _candidate(0.0, 0.690, 480, 3),
        _candidate(0.7, 0.655, 240, 2),
        _candidate(1.0, 0.560, 120, 1),
    ],
}
LEAK = {
    "id": "contract-012#63",
    "kind": "reworded",
    "share": 0.62,
    "where": "tasks: contract-012/9",
    "exam": "What does “time is of the essence” change about a late delivery?",
    "evidence": "If time is of the essence, how does that alter what a late delivery entails?",
}
LEAKS: dict[str, Any] = {"exam": "law", "questions": 600, "leaks": {"verbatim": 0, "reworded": 1}}
SPEED: dict[str, Any] = {
    "engine": "vllm",
    "model": "DPO, q8_0",
    "machine": "the bank's own, 8 cores",
    "cells": [
        {
            "concurrency": at,
            "prompt_tokens": 512,
            "output_tokens": 128,
            "repeats": 5,
            "tokens_per_second": {"value": 31.0 * at**0.8, "low": 29.5 * at**0.8, "high": 32.1 * at**0.8},
            "first_token_seconds": {"p50": 0.21 * at, "p95": 0.4 * at},
            "memory_bytes": 9_400_000_000 + at * 120_000_000,
            "gpu_bytes": None,
            "errors": 0,
            "reason": None,
        }
        for at in (1, 4, 16)
    ]
    + [{"concurrency": 64, "prompt_tokens": 512, "output_tokens": 128, "reason": "out of memory"}],
}


def seven_models(items: int = 600, language: Literal["en", "zh"] = "en") -> WriteReport:
    """Return a report on seven models with everything on it."""
    base = ToyModel()
    cpt = ToyModel(base=base, steps=300)
    sft = ToyModel(base=cpt, steps=120)
    dpo = ToyModel(base=sft, steps=40)
    of = {"base": base, "CPT": cpt, "SFT": sft, "DPO": dpo}
    models = {
        label: Sitting(model=of[label.split("+")[0]], label=label, items=items)
        for label in ("base", "base+few-shot", "base+RAG", "CPT", "SFT", "DPO", "DPO+RAG")
    }
    drops = {"base": 0.0, "CPT": 0.04, "SFT": 0.15, "DPO": 0.16}
    return WriteReport(
        models=models,
        benchmarks=tuple(Benchmark(model=of[label], label=label, drop=drop) for label, drop in drops.items()),
        training=(cpt, sft, dpo),
        doctor=Written(file="diagnosis.json", told=DIAGNOSIS),
        leaks=Written(file="report.json", told=LEAKS, leaks=(LEAK,)),
        decoding=Written(file="decoding.json", told=SEARCH),
        speed=(Written(file="speed.json", told=SPEED),),
        judge=Judged(models={label: models[label] for label in ("base", "base+RAG", "SFT", "DPO")}),
        language=language,
        title="Contract law assistant, 7B",
    )


def two_models(items: int = 120, language: Literal["en", "zh"] = "en") -> WriteReport:
    """Return a report on a base and its training, with nothing else given."""
    base = ToyModel()
    models = {"base": base, "SFT": ToyModel(base=base, steps=30)}
    sat = {label: Sitting(model=one, label=label, items=items) for label, one in models.items()}
    return WriteReport(models=sat, language=language)


def written(folder: Path, step: WriteReport) -> Report:
    """Make the report in a workshop at `folder`."""
    return Workshop(folder).make(step)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--items", type=int, default=600)
    parser.add_argument("--language", choices=("en", "zh"), default="en")
    parser.add_argument("--two", action="store_true")
    given = parser.parse_args()
    print(
        written(
            given.folder,
            two_models(given.items, given.language) if given.two else seven_models(given.items, given.language),
        ).folder
    )
