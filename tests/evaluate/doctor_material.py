"""Examinations that a doctor reads: simulated with known rates of every fault, in memory or as an artifact."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from metier.core import Artifact, Step, Work
from metier.core.types import Scores
from metier.evaluate.answer_log import place_of
from metier.evaluate.doctor.answers import Pair, Sitting
from metier.evaluate.doctor.diagnosis import is_found, judged
from metier.evaluate.doctor.faults import Seen, look
from metier.evaluate.doctor.trained_on import Ends, Leaked, Repeats

WORDS = [
    "the", "clerk", "reads", "each", "file", "and", "writes", "one", "short", "note", "about", "what", "it", "says",
    "to", "nobody", "else", "here", "today",
]  # fmt: skip
LIMIT = 64


class Rates(NamedTuple):
    """How a simulated model answers. Shares of answers; rises of mean loss per token, in nats; a factor of length."""

    loops: float = 0.02
    run_on: float = 0.02
    refusals: float = 0.01
    formless: float = 0.01
    text_loss: float = 0.0
    reply_loss: float = 0.0
    length: float = 1.0


HEALTHY = Rates()


def rows(rates: Rates, seed: int, model: int, free: int = 120, texts: int = 24, per: int = 4) -> list[dict[str, Any]]:
    """Return an examination's rows. Models of one `seed` sit one exam; items of one cluster are alike hard."""
    exam, rng = random.Random(seed), random.Random(f"{seed}/{model}")
    made, skill = [], 1.0
    for at in range(free):
        if at % per == 0:
            skill = 2 * exam.betavariate(3, 3)  # mean 1: some clusters provoke faults more than others
        general = at >= free * 2 // 3
        expected = " ".join(exam.choice(WORDS) for _ in range(exam.randint(8, 24)))
        made.append(
            {
                "name": "sql_to_general_prompts" if general else "agreement",
                "split": "general_prompts" if general else "held_out",
                "id": str(at),
                "cluster": f"c{at // per}",
                "expected": expected,
                **answer(rates, expected, skill, rng),
            }
        )
    for at in range(2 * texts):
        name, split = ("perplexity", "general") if at % 2 else ("chat_reply_perplexity", "general_prompts")
        tokens = exam.randint(40, 200)
        mean = exam.gauss(3.0, 0.4) + (rates.text_loss if at % 2 else rates.reply_loss) + rng.gauss(0, 0.03)
        loss = {"tokens": tokens, "bytes": 4 * tokens, "nats": tokens * mean}
        made.append({"name": name, "split": split, "id": f"t{at}", "cluster": f"t{at}", **loss})
    return made


def answer(rates: Rates, expected: str, skill: float, rng: random.Random) -> dict[str, Any]:
    """Return a simulated answer: at most one fault of text, and of a length about that of the reference."""
    words = [rng.choice(WORDS) for _ in expected.split()]
    tokens = max(1, round(len(words) * rates.length * math.exp(rng.gauss(0, 0.3))))
    draw = rng.random() / skill
    text = " ".join(words)
    if draw < rates.loops:
        text = "so it goes " * 12
    elif draw < rates.loops + rates.refusals:
        text = "I'm sorry, but I can't help with that."
    elif draw < rates.loops + rates.refusals + rates.formless:
        text = ""
    cut = rng.random() / skill < rates.run_on
    return {"answer": text, "score": 0.0, "tokens": LIMIT if cut else min(tokens, LIMIT), "finished": not cut}


def seen(model: Rates, base: Rates | None, seed: int, **more: Any) -> Seen:
    """Return what the doctor sees of two simulated models, or of one."""
    after = rows(model, seed, 1, **more)
    before = rows(base, seed, 0, **more) if base is not None else [None] * len(after)
    pairs = [Pair(place_of(a), a, b) for a, b in zip(after, before, strict=True)]
    sitting = Sitting("model", "base" if base is not None else None, {"conditions": {"max_tokens": LIMIT}}, pairs)
    clean = [Repeats(0.0, 0.0, [])]
    return Seen(sitting, lambda text: len(text.split()), Ends(100, []), clean, [Leaked(0, [])], 100, 60, True)


class Simulated(Step[Scores]):
    """An examination of a simulated model."""

    name: ClassVar[str] = "test-simulated-scores"
    label: str = "model"
    seed: int = 0
    number: int = 0
    loops: float = 0.02
    run_on: float = 0.02
    refusals: float = 0.0
    formless: float = 0.0
    text_loss: float = 0.0
    exam: str = "one"

    def run(self, work: Work) -> None:
        rates = Rates(self.loops, self.run_on, self.refusals, self.formless, self.text_loss)
        write(work.folder, rows(rates, self.seed, self.number), self.label, self.exam)


def write(folder: Path, made: list[dict[str, Any]], label: str, exam: str = "one") -> None:
    """Write an examination as `examine` leaves it."""
    (folder / "answers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in made))
    card = {"digest": exam, "conditions": {"max_tokens": LIMIT}, "counts": {"rows": len(made)}}
    (folder / "exam.json").write_text(json.dumps(card))
    figure = {"name": "agreement", "model": label, "split": "held_out", "value": 0.0, "low": 0.0, "high": 0.1, "n": 1}
    (folder / "scores.json").write_text(json.dumps([figure]))


def found_in(looked: Seen) -> set[str]:
    """Return the faults that are found, judged together."""
    return {fault.fault for fault in judged(look(looked)) if any(map(is_found, fault.tests))}


class Folders:
    """Stands for a work whose artifacts have only names."""

    def __init__(self) -> None:
        self._names: dict[int, str] = {}

    def made(self, step: Any) -> Artifact:
        """Return an artifact with a name of its own."""
        return Artifact(Path(self._names.setdefault(id(step), f"{step.name}-{len(self._names)}")))
