"""Scorers: grade an answer against what its conversation stores in `check`.

Evaluation averages scores, preferences rank by them, reinforcement learning rewards with them. What a check holds
is its scorer's business; `check["scorer"]` names the scorer.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

from metier.core.errors import Mistake


class Score(NamedTuple):
    """A grade in 0..1 and why it is that."""

    value: float
    reason: str


class Scorer(Protocol):
    """Grades one answer.

    A bad answer is a score of 0 with its reason, never an exception; a bad check is an exception, never a score.
    """

    def score(self, check: Mapping[str, Any], answer: str) -> Score:
        """Return the grade of `answer`. Raises Failure if the check itself cannot be used."""
        ...


def answer_of(reply: str) -> str:
    """Return what a reply says after its thoughts, which stand in <think>…</think>: nothing while a thought is open."""
    _, closed, answer = reply.rpartition("</think>")
    return "" if not closed and reply.lstrip().startswith("<think>") else answer


def scorer_for(name: str) -> Scorer:
    """Return the scorer called `name`: "sqlite" (execution), "program" (unit tests) or "agreement" (shared words).

    Raises:
        Mistake: there is none of that name; the nearest is named.
    """
    from metier.core.scorers.agreement import Agreement
    from metier.core.scorers.program import ProgramScorer
    from metier.core.scorers.sqlite import Sqlite

    known: dict[str, Callable[[], Scorer]] = {"sqlite": Sqlite, "program": ProgramScorer, "agreement": Agreement}
    if name not in known:
        nearest = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean '{nearest[0]}'?" if nearest else f"known: {', '.join(known)}"
        raise Mistake(f"no scorer is called '{name}'", hint=hint)
    return known[name]()


__all__ = ["Score", "Scorer", "answer_of", "scorer_for"]
