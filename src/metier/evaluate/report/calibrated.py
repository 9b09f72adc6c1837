"""The models' calibration as the page shows it: a reliability diagram each, and what it comes to in words."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from markupsafe import Markup

from metier.evaluate.calibration import Calibration
from metier.evaluate.report import charts
from metier.evaluate.report.facts import Facts
from metier.evaluate.report.numbers import percent
from metier.evaluate.report.words import Words


class Calibrated(NamedTuple):
    """One model's calibration, drawn. `leaning` is a key of the words: too sure, not sure enough, or neither."""

    model: str
    found: Calibration
    drawing: Markup
    leaning: str


def calibrated(facts: Facts, words: Words, number: Callable[[str], int]) -> list[Calibrated]:
    """Return every model's calibration, in the page's order."""
    shown = []
    for model, found in facts.calibration.items():
        error = f"{percent(found.error.value)}%"
        name = words["calibration_alt"].format(model=model, error=error, n=f"{found.error.n:,}")
        drawing = charts.reliability(found, number(model), name, words["confidence"], words["is_right"])
        shown.append(Calibrated(model, found, Markup(drawing), leaning(found)))
    return shown


def leaning(found: Calibration) -> str:
    """Say whether confidence is clearly above the share right, clearly below it, or neither."""
    if found.excess.low > 0:
        return "too_sure"
    return "not_sure_enough" if found.excess.high < 0 else "no_clear_bias"
