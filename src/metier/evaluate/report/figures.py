"""The figures of all examined models, side by side, and what changed between two of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple

from metier.core.errors import Failure
from metier.core.types import Score
from metier.evaluate.report.metrics import Kind, Subject


class Verdict(StrEnum):
    """What a difference shows. It is clear where its 95% interval excludes no change."""

    BETTER = "better"
    WORSE = "worse"
    UNCLEAR = "unclear"
    CHANGED = "changed"  # clear, but the page does not know which way is better
    UNKNOWN = "unknown"  # there is no interval to judge by


class Difference(NamedTuple):
    """How `model` differs from `reference`: a relative change for perplexities (-0.21 is 21% lower), else a difference.

    `paired` tells whether the interval comes from the differences item by item.
    """

    subject: Subject
    reference: str
    model: str
    value: float
    low: float | None
    high: float | None
    paired: bool

    @property
    def verdict(self) -> Verdict:
        """Whether it is clear, and which way it goes."""
        if self.low is None or self.high is None:
            return Verdict.UNKNOWN
        if self.low <= 0 <= self.high:
            return Verdict.UNCLEAR
        up_is_good = self.subject.metric.higher_is_better
        if up_is_good is None:
            return Verdict.CHANGED
        return Verdict.BETTER if (self.low > 0) == up_is_good else Verdict.WORSE


Compare = Callable[[str, str], Mapping[Subject, Difference | None]]
"""Paired differences of two models, by their labels; None where they cannot be compared at all, and subjects that can
only be compared unpaired are not in it."""


class Figures:
    """All figures, by model and subject.

    Args:
        models: label → its figures, the base first, the final model last.
        controls: other models to hold them against.
        asked: the labels of examinations with examples or passages → the label under which the same model was asked
            plainly, None where it was not. The others are the stages, the last of which is what came out.

    `compare`, once set, gives paired differences where the items are known; elsewhere figures are compared by their own
    intervals. An end of an interval that is not finite is as good as none.
    """

    def __init__(
        self,
        models: Mapping[str, Sequence[Score]],
        controls: Mapping[str, Sequence[Score]] | None = None,
        asked: Mapping[str, str | None] | None = None,
    ) -> None:
        controls, asked = controls or {}, asked or {}
        self.stages = [label for label in models if label not in asked]
        self._asked = asked
        self.models, self.controls = list(models), list(controls)
        self.rows = [_labelled(row, label) for label, rows in {**models, **controls}.items() for row in rows]
        self._found: dict[tuple[str, Subject], Score] = {}
        for row in self.rows:
            place = (row.model, Subject(row.name, row.split))
            if place in self._found:
                raise Failure(f"the scores of '{row.model}' hold {row.name} ({row.split}) twice")
            self._found[place] = row
        self.compare: Compare | None = None
        self._compared: dict[tuple[str, str], Mapping[Subject, Difference | None]] = {}

    @property
    def base(self) -> str:
        """The label of the model that all began with."""
        return self.models[0]

    @property
    def final(self) -> str:
        """The label of the model that came out: the last one asked plainly, or where that is the base the last one."""
        return self.stages[-1] if len(self.stages) > 1 else self.models[-1]

    @property
    def ways(self) -> list[str]:
        """The labels under which the final model was asked with examples or passages."""
        return [label for label, plainly in self._asked.items() if plainly == self.final]

    @property
    def subjects(self) -> list[Subject]:
        """Everything that was measured on any model, in the page's order."""
        return sorted({subject for _, subject in self._found}, key=lambda subject: subject.order)

    def get(self, label: str, subject: Subject) -> Score | None:
        """Return one figure, or None if that model was not examined in it."""
        return self._found.get((label, subject))

    def difference(self, reference: str, model: str, subject: Subject) -> Difference | None:
        """Return how `model` differs from `reference`, or None where one was not examined in it."""
        before, after = self.get(reference, subject), self.get(model, subject)
        if before is None or after is None:
            return None
        if self.compare is not None and (reference, model) not in self._compared:
            self._compared[reference, model] = self.compare(reference, model)
        compared = self._compared.get((reference, model), {})
        return compared[subject] if subject in compared else unpaired(reference, model, before, after)

    def differences(self, reference: str, model: str) -> list[Difference]:
        """Return how `model` differs from `reference` in everything that both were examined in."""
        found = [self.difference(reference, model, subject) for subject in self.subjects]
        return [difference for difference in found if difference is not None]

    def outcome(self) -> list[Difference]:
        """Return what became of the base: how the final model differs from it."""
        return self.differences(self.base, self.final)


def _labelled(row: Score, label: str) -> Score:
    if not math.isfinite(row.value):
        raise Failure(f"{row.name} ({row.split}) of '{label}' is not a finite number", found=str(row.value))
    ends = (row.low, row.high)
    if all(end is not None and math.isfinite(end) for end in ends):
        return row._replace(model=label)
    return row._replace(model=label, low=None, high=None)


def unpaired(reference: str, model: str, before: Score, after: Score) -> Difference:
    """Return the difference of two figures and an interval recovered from their own.

    The method of variance estimates recovery (Zou and Donner, Statistics in Medicine 27, 2008), on the logarithm
    for perplexities. It takes the two as independent; for two models on the same items that is too wide rather than too
    narrow.
    """
    subject = Subject(after.name, after.split)
    ratio = subject.metric.kind is Kind.PERPLEXITY
    if ratio and min(before.value, after.value) <= 0:
        raise Failure(
            f"a perplexity of {subject.name} ({subject.split}) is not positive",
            found=f"{before.model} {before.value}, {after.model} {after.value}",
        )
    move = math.log if ratio else float
    back = math.expm1 if ratio else float
    value = back(move(after.value) - move(before.value))
    if before.low is None or before.high is None or after.low is None or after.high is None:
        return Difference(subject, reference, model, value, None, None, paired=False)
    if ratio and min(before.low, after.low) <= 0:
        return Difference(subject, reference, model, value, None, None, paired=False)
    b, b_low, b_high = move(before.value), move(before.low), move(before.high)
    a, a_low, a_high = move(after.value), move(after.low), move(after.high)
    low = back(a - b - math.hypot(a - a_low, b_high - b))
    high = back(a - b + math.hypot(a_high - a, b - b_low))
    return Difference(subject, reference, model, value, low, high, paired=False)
