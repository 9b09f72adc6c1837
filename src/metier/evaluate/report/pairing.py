"""Differences of two examined models item by item: the same questions, so what is hard for both cancels out."""

from __future__ import annotations

import math
from collections.abc import Mapping

from metier.core.errors import Failure
from metier.core.types import Score, Scores
from metier.evaluate import compare as examined
from metier.evaluate.perplexity import REPLY, TEXT
from metier.evaluate.report.figures import Compare, Difference
from metier.evaluate.report.metrics import Subject


def pairing(scores: Mapping[str, Scores]) -> Compare:
    """Return a function that compares two examined models by their labels, for `Figures`.

    It raises Mistake if they sat unlike exams, and Failure if the answers of one are not all there or give another
    figure than its scores.
    """
    told = {label: {Subject(row.name, row.split): row for row in found.figures()} for label, found in scores.items()}

    def compare(reference: str, model: str) -> Mapping[Subject, Difference | None]:
        found: dict[Subject, Difference | None] = {}
        for one in examined.compare(scores[reference], scores[model]):
            subject = Subject(one.name, one.split)
            _check(reference, told[reference].get(subject), one.first)
            _check(model, told[model].get(subject), one.second)
            same = 1.0 if one.kind is examined.Kind.RATIO else 0.0
            ends = (one.low - same, one.high - same)
            low, high = ends if all(map(math.isfinite, ends)) else (None, None)
            found[subject] = Difference(subject, reference, model, one.value - same, low, high, paired=True)
        for subject in told[reference].keys() & told[model].keys():
            if subject.name in (TEXT, REPLY):  # unlike tokenizers: their perplexities per token do not compare at all
                found.setdefault(subject, None)
        return found

    return compare


def _check(label: str, told: Score | None, found: float) -> None:
    if told is not None and not math.isclose(told.value, found, rel_tol=1e-6, abs_tol=1e-9):
        raise Failure(
            f"the answers of '{label}' do not give its figure: {told.name} ({told.split})",
            found=f"{found:.6g} from answers.jsonl, {told.value:.6g} in scores.json",
            hint="remove its folder and run again: the examination will be made anew",
        )
