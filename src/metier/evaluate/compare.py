"""Two models examined with one exam, compared item by item."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from metier.core.errors import Failure, Mistake
from metier.core.types import Scores
from metier.evaluate.answer_log import AnswerLog, Place
from metier.evaluate.perplexity import PER_BYTE, REPLY_PER_BYTE, TEXT
from metier.evaluate.statistics import Interval, paired_difference, perplexity_ratio

if TYPE_CHECKING:
    from metier.evaluate.baselines import Setting

SETTING = "setting.json"
"""The file beside scores.json that says how a model was asked, and which figures were not measured so."""

_LOWER_IS_BETTER = ("perplexity", "sql_to_general_prompts")


class Kind(StrEnum):
    """How two figures are compared."""

    DIFFERENCE = "difference"  # second - first, of shares and grades in 0..1
    RATIO = "ratio"  # second / first, of perplexities


class Verdict(StrEnum):
    """What the interval says. Without a clear difference nothing is claimed."""

    LEARNT = "learnt"
    LOST = "lost"
    UNCLEAR = "no clear difference"


class Difference(NamedTuple):
    """One figure of a second model against the first's, paired by item, with its 95% interval.

    `value`, `low` and `high` are second - first, or second / first where `kind` is a ratio.
    """

    name: str
    split: str
    kind: Kind
    first: float
    second: float
    value: float
    low: float
    high: float
    n: int

    @property
    def verdict(self) -> Verdict:
        """LEARNT or LOST where the whole interval lies on one side of no change."""
        same = 1.0 if self.kind is Kind.RATIO else 0.0
        if self.low <= same <= self.high:
            return Verdict.UNCLEAR
        better_is_lower = any(part in self.name for part in _LOWER_IS_BETTER)
        return Verdict.LEARNT if (self.high < same) == better_is_lower else Verdict.LOST

    @property
    def words(self) -> str:
        """The comparison as one line for people."""
        what = f"{self.name.replace('_', ' ')} ({self.split.replace('_', ' ')})"
        if self.kind is Kind.RATIO:
            change, low, high = (100 * (value - 1) for value in (self.value, self.low, self.high))
            return (
                f"{what}: {self.first:.2f} → {self.second:.2f}, {change:+.1f}% "
                f"[{low:+.1f}, {high:+.1f}], n = {self.n}: {self.verdict}"
            )
        change, low, high = (100 * value for value in (self.value, self.low, self.high))
        return (
            f"{what}: {self.first:.1%} → {self.second:.1%}, {change:+.1f} points "
            f"[{low:+.1f}, {high:+.1f}], n = {self.n}: {self.verdict}"
        )


def compare(first: Scores, second: Scores) -> list[Difference]:
    """Return the paired differences of all figures that both have, in the order of the exam.

    A model that was shown examples or passages is not measured on all that the exam holds; its setting says on what.

    Raises:
        Mistake: they were examined with unlike exams, or not under the same conditions, or one has no items to pair.
        Failure: the answers of one are not all there, or hold a number that is none.
    """
    cards = [_card(scores.folder) for scores in (first, second)]
    if cards[0] != cards[1]:
        unlike = [key for key in ("conditions", "counts", "digest") if cards[0].get(key) != cards[1].get(key)]
        raise Mistake(
            "results of unlike exams cannot be compared",
            found=f"{', '.join(unlike)} of {first.folder.name} and {second.folder.name} differ",
            hint="examine both models with the same step and the same questions",
        )
    skipped = _skipped(first, second)
    logs = [_answers(scores.folder, skipped) for scores in (first, second)]
    if list(logs[0]) != list(logs[1]):
        raise Failure(
            "two examinations with one exam hold different items",
            found=f"{len(logs[0])} and {len(logs[1])} items",
            hint="remove both folders and run again",
        )
    parts: dict[tuple[str, str], list[Place]] = {}
    for place in logs[0]:
        parts.setdefault((place.name, place.split), []).append(place)
    found: list[Difference] = []
    for (name, split), places in parts.items():
        pair = ([logs[0][place] for place in places], [logs[1][place] for place in places])
        if "nats" in pair[0][0]:
            # models with unlike tokenizers are compared per byte alone
            alike = _units(pair[0]) == _units(pair[1])
            if name == TEXT or not alike:
                found.append(_ratio(PER_BYTE if name == TEXT else REPLY_PER_BYTE, split, *pair, "bytes"))
            if alike:
                found.append(_ratio(name, split, *pair, "tokens"))
        else:
            found.append(_difference(name, split, *pair))
    return found


Rows = Sequence[Mapping[str, Any]]


def one_setting(first: Scores, second: Scores) -> bool:
    """Say whether two models were shown as many examples and passages as each other."""
    return _setting(first)[:2] == _setting(second)[:2]


def require_one_setting(first: Scores, second: Scores) -> None:
    """Raise Mistake if one model was shown examples or passages that the other was not: less of it was measured."""
    if not one_setting(first, second):
        told = [f"{one.folder.name}: {_setting(one).words or 'plain'}" for one in (first, second)]
        raise Mistake(
            "models that were asked in unlike ways cannot be held against each other",
            found="; ".join(told),
            hint="examine both with the same `shots`, `retrieval` and `passages`",
        )


def read_answers(folder: Path) -> dict[Place, dict[str, Any]]:
    """Return the rows of an examination's answers.jsonl, none if there is no such file.

    Raises:
        Failure: it cannot be read, or a likelihood or a grade is no finite number.
    """
    path = folder / "answers.jsonl"
    try:
        rows = AnswerLog(path).rows
    except (ValueError, KeyError, TypeError) as error:
        raise Failure(f"{path} cannot be read", found=str(error), hint=f"remove {folder} and run again") from error
    for place, row in rows.items():
        for what in ("nats", "score"):
            if isinstance(row.get(what), float) and not math.isfinite(row[what]):
                raise Failure(
                    f"{folder.name} holds an answer whose '{what}' is no finite number",
                    found=f"{row[what]} of '{place.id}', {place.name} ({place.split})",
                    hint="the model's weights or its arithmetic give no numbers: look at the loss of its training, or "
                    "examine it with `precision: float32`",
                )
    return rows


def _units(rows: Rows) -> list[int]:
    return [row["tokens"] for row in rows]


def _ratio(name: str, split: str, first: Rows, second: Rows, unit: str) -> Difference:
    units = [row[unit] for row in first]
    nats = ([row["nats"] for row in first], [row["nats"] for row in second])
    interval = perplexity_ratio(*nats, units, [row["cluster"] for row in first])
    values = [math.exp(math.fsum(lost) / sum(units)) for lost in nats]
    return Difference(name, split, Kind.RATIO, values[0], values[1], *_bounds(interval))


def _difference(name: str, split: str, first: Rows, second: Rows) -> Difference:
    grades = ([float(row["score"]) for row in first], [float(row["score"]) for row in second])
    interval = paired_difference(*grades, [row.get("cluster") or row["id"] for row in first])
    means = [math.fsum(values) / len(values) for values in grades]
    return Difference(name, split, Kind.DIFFERENCE, means[0], means[1], *_bounds(interval))


def _bounds(interval: Interval) -> tuple[float, float, float, int]:
    return interval.value, interval.low, interval.high, interval.n


def _answers(folder: Path, skipped: frozenset[str]) -> dict[Place, dict[str, Any]]:
    rows, path = read_answers(folder), folder / "answers.jsonl"
    if not rows and path.is_file() and (folder / "scores.json").is_file():
        raise Mistake(
            f"{folder.name} has nothing to pair item by item",
            found="an empty answers.jsonl: its figures are of all answers together",
            hint="compare its figures themselves, which have no interval",
        )
    if not rows:
        raise Failure(f"{path} holds no answers", hint=f"remove {folder} and run again")
    return {place: row for place, row in rows.items() if place.name not in skipped}


def _skipped(first: Scores, second: Scores) -> frozenset[str]:
    return frozenset(_setting(first).skipped) | frozenset(_setting(second).skipped)


def _setting(scores: Scores) -> Setting:
    from metier.evaluate.baselines import setting_of  # which imports this module

    return setting_of(scores)


def _card(folder: Path) -> dict[str, Any]:
    try:
        card: dict[str, Any] = json.loads((folder / "exam.json").read_text())
    except (OSError, ValueError) as error:
        raise Failure(
            f"{folder.name} does not say with which exam it was made", hint=f"remove {folder} and run again"
        ) from error
    return card
