"""What the steps of a training told, as the detectors see it: without those that a rollback undid."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

UNDONE = "undone_to"
"""Key of an entry in the trainers' history: after its step the weights of the step it names were put back."""


class Told(NamedTuple):
    """What one optimizer step told.

    gradient: the norm before clipping. skipped: whether a loss scaler left the step out. lost: nats a token that the
    chosen answers of its pairs lost against the reference; None without pairs.
    """

    step: int
    loss: float
    gradient: float
    skipped: bool = False
    lost: float | None = None

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> Told:
        """Return an entry of the trainers' history."""
        return cls(
            int(entry["step"]),
            float(entry["loss"]),
            float(entry.get("grad_norm", 0.0)),
            bool(entry.get("skipped", False)),
            entry.get("lost"),
        )


class Trace:
    """The steps so far that count, in order.

    It is rebuilt from the trainers' history, which every checkpoint keeps: a resumed training judges as an
    uninterrupted one does.
    """

    def __init__(self, history: Iterable[Mapping[str, Any]] = ()) -> None:
        self.steps: list[Told] = []
        self.rollbacks = 0
        for entry in history:
            if UNDONE in entry:
                self.undo(entry[UNDONE])
            elif "loss" in entry and "step" in entry:
                self.add(Told.of(entry))

    def add(self, told: Told) -> None:
        """Append a step."""
        self.steps.append(told)

    def undo(self, step: int) -> None:
        """Forget the steps after `step`, whose weights were put back."""
        self.rollbacks += 1
        while self.steps and self.steps[-1].step > step:
            self.steps.pop()

    def before(self, count: int, back: int = 0) -> list[Told]:
        """Return at most `count` steps before the last one, or before the one `back` steps earlier."""
        end = len(self.steps) - 1 - back
        return self.steps[max(0, end - count) : max(0, end)]
