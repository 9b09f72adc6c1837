"""From several graded answers to one prompt: a pair with a real difference, or the reason why there is none."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

from metier.core.types import Conversation, Preference

ALL_RIGHT = "all answers equally right"
ALL_WRONG = "all answers wrong"
TOO_CLOSE = "too small a difference"
NO_WRONG_TEXT = "no answer to reject"


class Graded(NamedTuple):
    """One sampled answer, its grade in 0..1, and whether the model ended it itself."""

    text: str
    score: float
    reason: str
    finished: bool


class Chosen(NamedTuple):
    """A pair, or why there is none."""

    pair: Preference | None
    dropped: str | None


def choose_pair(row: Conversation, answers: Sequence[Graded], min_difference: float, use_reference: bool) -> Chosen:
    """Return the best and the worst answer as a pair where their grades differ by `min_difference` or more.

    The best is one that the model ended itself: a cut answer would teach it not to stop. With `use_reference`, a prompt
    to which all answers are wrong gives the row's own answer as chosen. Of equal grades the answer sampled first is
    taken as best and the commonest text as worst, because that is the mistake that the model makes.
    """
    ended = [answer for answer in answers if answer.finished and answer.text.strip()]
    best = max(ended, key=lambda answer: answer.score, default=None)
    worst = _worst(answers)
    if worst is None:
        return Chosen(None, NO_WRONG_TEXT)
    if best is not None and best.score - worst.score >= min_difference:
        return Chosen(_pair(row, best, worst, f"{best.reason}; rejected: {worst.reason}"), None)
    top = max(answer.score for answer in answers)
    if use_reference and top < min_difference:
        reference = Graded(row.messages[-1].content, 1.0, "reference", True)
        if reference.text.strip() != worst.text.strip():
            return Chosen(_pair(row, reference, worst, f"reference; rejected: {worst.reason}"), None)
    if worst.score >= 1:
        return Chosen(None, ALL_RIGHT)
    return Chosen(None, ALL_WRONG if top < min_difference else TOO_CLOSE)


def _worst(answers: Sequence[Graded]) -> Graded | None:
    said = [answer for answer in answers if answer.text.strip()]
    if not said:
        return None
    lowest = min(answer.score for answer in said)
    texts = [answer.text for answer in said]
    return max((answer for answer in said if answer.score == lowest), key=lambda answer: texts.count(answer.text))


def _pair(row: Conversation, best: Graded, worst: Graded, reason: str) -> Preference:
    return Preference(
        id=row.id,
        prompt=list(row.messages[:-1]),
        chosen=best.text.strip(),
        rejected=worst.text.strip(),
        chosen_score=best.score,
        rejected_score=worst.score,
        reason=reason,
        source=row.source,
    )


class Lint(NamedTuple):
    """What is wrong with pairs, and what is left of them. Lengths are mean characters."""

    kept: list[Preference]
    dropped: dict[str, int]
    chosen_characters: float
    rejected_characters: float
    warnings: list[str]


LENGTH_BIAS = 1.5
"""Ratio of mean lengths from which a user is told: a model would learn the length before it learns the answer."""


def lint(pairs: Sequence[Preference]) -> Lint:
    """Drop pairs of equal texts and pairs that occur twice; warn of a bias in length."""
    kept: list[Preference] = []
    seen: set[str] = set()
    dropped = {"equal texts": 0, "duplicate": 0}
    for pair in pairs:
        parts = (*(message.content for message in pair.prompt), pair.chosen, pair.rejected)
        digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()
        if " ".join(pair.chosen.split()) == " ".join(pair.rejected.split()):
            dropped["equal texts"] += 1
        elif digest in seen:
            dropped["duplicate"] += 1
        else:
            seen.add(digest)
            kept.append(pair)
    count = max(1, len(kept))
    chosen = sum(len(pair.chosen) for pair in kept) / count
    rejected = sum(len(pair.rejected) for pair in kept) / count
    warnings = []
    if kept and not 1 / LENGTH_BIAS < (chosen + 1) / (rejected + 1) < LENGTH_BIAS:
        longer = "longer" if chosen > rejected else "shorter"
        warnings.append(
            f"chosen answers are much {longer} than rejected ones ({chosen:.0f} and {rejected:.0f} characters): "
            "the model may learn the length instead of the answer"
        )
    return Lint(kept, {reason: count for reason, count in dropped.items() if count}, chosen, rejected, warnings)
