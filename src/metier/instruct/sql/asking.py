"""Put a task to the model: in words, or as a broken statement to repair."""

from __future__ import annotations

import random

from metier.instruct.sql import wording
from metier.instruct.sql.breakage import BREAKAGES
from metier.instruct.sql.checks import comparable
from metier.instruct.sql.desk import Desk, Said, Task

SHARE_PLAIN = 0.2  # of the broken statements that fail with a message: shown without it
SHARE_MESSAGE = 0.45  # shown with it; the rest state the intent in words


def ask(task: Task, templates: wording.Wording, rng: random.Random, *, typed: bool) -> Said:
    """Return the task in words; `typed` adds the habits of people who type."""
    lines = templates[task.family.id]
    number = rng.randrange(len(lines))
    text = wording.say(wording.choose(lines[number], rng), task.filled, rng).strip()
    text = wording.as_typed(text, rng) if typed else text
    return Said(text, f"text-to-sql/{task.family.topic}", f"sql:{task.family.id}/wording {number}")


def ask_repair(task: Task, kind: str, desk: Desk, rng: random.Random) -> Said | None:
    """Return a broken form of the task's statement with a request to repair it, or None if it does not break.

    It must fail on every database or give another result on at least two of them. One that runs is asked with the
    intent, for nothing else says what it should have done.
    """
    broken = BREAKAGES[kind](task.gold, desk.schema, rng)
    if broken is None or broken == task.gold:
        return None
    outcomes = desk.databases.outcomes(broken, task.probe)
    right = desk.databases.outcomes(task.gold, task.probe)
    ordered = task.family.ordered
    if sum(comparable([a], ordered) == comparable([b], ordered) for a, b in zip(outcomes, right, strict=True)) > 1:
        return None
    error = outcomes[0].error if all(outcome.error for outcome in outcomes) else None
    draw = rng.random()
    style = "repair_intent"
    if error is not None and draw < SHARE_PLAIN + SHARE_MESSAGE:
        style = "repair_plain" if draw < SHARE_PLAIN else "repair_error"
    intent = ask(task, wording.trained(), rng, typed=False).question
    parts = {"broken": broken, "error": error or "", "question": intent}
    text = wording.put(wording.choose(rng.choice(wording.load("repair.yaml")[style]), rng), parts)
    return Said(text, f"repair/{kind}", f"sql:{task.family.id}/{style} {kind}")
