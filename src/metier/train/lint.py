"""What is wrong with preference pairs before a model learns from it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from metier.core.types import Preference

LENGTH_BIAS = 0.8
"""Above this share of pairs whose chosen answer is the longer one (or the shorter), length alone tells them apart."""

_LEAST_PAIRS = 20
_LONGER = 1.1
_ENDS = (".", "!", "?", "。", "！", "？", ";", "}", "]", ")", '"', "'", "`", "”", "’", "|", ">")


class Lint(NamedTuple):
    """Pairs to train on, how many were left out by reason, and what is wrong with them as a whole."""

    kept: list[Preference]
    dropped: dict[str, int]
    warnings: list[str]


def lint(pairs: Sequence[Preference]) -> Lint:
    """Leave out pairs that teach nothing or the wrong thing, and say where the rest leans.

    A pair is left out where both answers are equal, where one is empty, where the chosen one is the rejected one cut
    short in the middle of a sentence, and where another pair says the opposite.
    """
    kept: list[Preference] = []
    dropped: dict[str, int] = {}
    opposites = {(_prompt(pair), pair.rejected, pair.chosen) for pair in pairs}
    for pair in pairs:
        reason = fault(pair)
        if reason is None and (_prompt(pair), pair.chosen, pair.rejected) in opposites:
            reason = "another pair says the opposite"
        if reason is None:
            kept.append(pair)
        else:
            dropped[reason] = dropped.get(reason, 0) + 1
    return Lint(kept, dropped, _leaning(kept))


def fault(pair: Preference) -> str | None:
    """Return why a pair teaches nothing by itself, or None."""
    chosen, rejected = pair.chosen.strip(), pair.rejected.strip()
    if chosen == rejected:
        return "both answers equal"
    if not chosen or not rejected:
        return "an answer is empty"
    if rejected.startswith(chosen) and not chosen.endswith(_ENDS):
        return "the chosen answer is cut short"
    return None


def _leaning(pairs: Sequence[Preference]) -> list[str]:
    if len(pairs) < _LEAST_PAIRS:
        return []
    longer = sum(len(pair.chosen) > _LONGER * len(pair.rejected) for pair in pairs) / len(pairs)
    shorter = sum(len(pair.rejected) > _LONGER * len(pair.chosen) for pair in pairs) / len(pairs)
    return [
        f"{share:.0%} of the chosen answers are {which} than the rejected ones: the model may learn only length"
        for which, share in (("longer", longer), ("shorter", shorter))
        if share > LENGTH_BIAS
    ]


def _prompt(pair: Preference) -> tuple[tuple[str, str], ...]:
    return tuple((message.role, message.content) for message in pair.prompt)
