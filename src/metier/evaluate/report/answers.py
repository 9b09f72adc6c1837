"""What the models answered: read whole or not at all, and ten of them chosen by a rule that cannot see the answers."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

from metier.core.errors import Failure
from metier.core.types import Score
from metier.evaluate.report.metrics import Subject

Items = Mapping[Subject, Mapping[str, Mapping[str, Any]]]
"""The graded items of one model: subject → id → what the examination wrote down."""


def read_items(folder: Path, label: str, figures: Sequence[Score]) -> Items:
    """Return the items of the examination of `label` in `folder`.

    Raises:
        Failure: the file is missing or cut, names an item twice, or holds another number of items than a figure's n.
    """
    path = folder / "answers.jsonl"
    hint = f"remove {folder} and run again: the examination of '{label}' will be made anew"
    if not path.is_file():
        raise Failure(f"the answers of '{label}' are missing", found=f"no {path}", hint=hint)
    found: dict[Subject, dict[str, Mapping[str, Any]]] = {}
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                row = json.loads(line)
                subject, id = Subject(row["name"], row["split"]), str(row["id"])
            except (ValueError, KeyError, TypeError) as error:
                raise Failure(f"{path}:{number} is not a whole answer", found=line[:120], hint=hint) from error
            if id in found.setdefault(subject, {}):
                raise Failure(f"{path}:{number} answers '{id}' of {subject.name} ({subject.split}) again", hint=hint)
            found[subject][id] = row
    for figure in figures:
        items = found.get(Subject(figure.name, figure.split))
        if items is not None and figure.n is not None and len(items) != figure.n:
            raise Failure(
                f"the answers of '{label}' are not all there: {figure.name} ({figure.split})",
                found=f"{len(items)} items in {path.name}, n = {figure.n} in scores.json",
                hint=hint,
            )
    return found


class Outcome(StrEnum):
    """What became of one item from the base to the final model."""

    WON = "won"
    LOST = "lost"
    KEPT = "kept"
    MISSED = "missed"


QUOTA = {Outcome.WON: 3, Outcome.LOST: 3, Outcome.KEPT: 2, Outcome.MISSED: 2}


class Graded(NamedTuple):
    """One item that base and final model both answered, right or wrong."""

    subject: Subject
    id: str
    outcome: Outcome


RIGHT_FROM = 0.5
"""Marks (0..1) from which an answer counts as right where marks can be partial; executed statements get 0 or 1."""


def right(item: Mapping[str, Any]) -> bool | None:
    """Return whether the answer counts as right, or None where it was not graded."""
    score = item.get("score")
    return None if score is None else float(score) >= RIGHT_FROM


def graded(base: Items, final: Items) -> list[Graded]:
    """Return every item with an answer that both models were graded on, in one fixed order."""
    found = []
    for subject, items in base.items():
        if subject.metric.forgetting:  # replies to general prompts are neither right nor wrong
            continue
        for id, item in items.items():
            other = final.get(subject, {}).get(id)
            if other is None or item.get("answer") is None or right(item) is None or right(other) is None:
                continue
            found.append(Graded(subject, id, _OUTCOMES[bool(right(item)), bool(right(other))]))
    return sorted(found, key=lambda item: (item.subject.order, item.id))


_OUTCOMES = {
    (False, True): Outcome.WON,
    (True, False): Outcome.LOST,
    (True, True): Outcome.KEPT,
    (False, False): Outcome.MISSED,
}


def tally(items: Sequence[Graded]) -> dict[Outcome, int]:
    """Return how many items had each outcome."""
    counts = Counter(item.outcome for item in items)
    return {outcome: counts[outcome] for outcome in Outcome}


def choose(items: Sequence[Graded], quota: Mapping[Outcome, int] = QUOTA) -> list[Graded]:
    """Return up to `sum(quota.values())` items: each outcome its quota, subjects in turn, the order given by a hash.

    Places that an outcome cannot fill go to the others, in the order won, lost, kept, missed. The hash is the SHA-256
    of the item's id, so nobody chose: neither the answers' looks nor the models' have a say.
    """
    waiting = {outcome: list(_in_turn([item for item in items if item.outcome is outcome])) for outcome in Outcome}
    taken = {outcome: waiting[outcome][: quota[outcome]] for outcome in Outcome}
    left = sum(quota.values()) - sum(map(len, taken.values()))
    for outcome in Outcome:
        more = waiting[outcome][quota[outcome] :][:left]
        taken[outcome] += more
        left -= len(more)
    return [item for outcome in Outcome for item in taken[outcome]]


def _in_turn(items: Sequence[Graded]) -> Iterator[Graded]:
    queues: dict[Subject, list[Graded]] = {}
    for item in sorted(items, key=lambda item: hashlib.sha256(item.id.encode()).digest()):
        queues.setdefault(item.subject, []).append(item)
    ordered = [queues[subject] for subject in sorted(queues, key=lambda subject: subject.order)]
    for place in range(max(map(len, ordered), default=0)):
        for queue in ordered:
            if place < len(queue):
                yield queue[place]
