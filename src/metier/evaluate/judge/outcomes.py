"""From verdicts to outcomes: who won which pair, how often the order decided, and whether length did."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

from metier.evaluate.judge.contest import Question
from metier.evaluate.judge.prompts import Side
from metier.evaluate.statistics import Interval, share_of_clusters


class Outcome(NamedTuple):
    """One question between two models, in the order of the recipe. `winner` is a label, or None for a tie.

    `leaning` is "A" or "B" where the judge preferred whatever stood there in both orders, "mixed" where it called one
    of the two orders a tie, and None where it agreed with itself.
    """

    question: Question
    first: str
    second: str
    winner: str | None
    leaning: str | None = None


class Pair(NamedTuple):
    """Two answers of unlike text to one question."""

    question: Question
    first: str
    second: str

    @property
    def keys(self) -> tuple[str, str]:
        """What the two requests are kept by: the first model as A, then the second as A."""
        return f"{self.question.key} {self.first}|{self.second}", f"{self.question.key} {self.second}|{self.first}"


def pairs(questions: Sequence[Question], labels: Sequence[str]) -> Iterator[Pair]:
    """Yield every pair of models on every question."""
    for question in questions:
        for first, second in combinations(labels, 2):
            yield Pair(question, first, second)


def is_same(pair: Pair) -> bool:
    """Say whether both models answered word for word alike, which is a tie without a judge."""
    return pair.question.answers[pair.first].strip() == pair.question.answers[pair.second].strip()


def settled(pair: Pair, verdicts: Mapping[str, Side]) -> Outcome | None:
    """Return the outcome of a pair, None unless both orders have a verdict. Verdicts that disagree are a tie."""
    if is_same(pair):
        return Outcome(*pair, winner=None)
    straight, swapped = (verdicts.get(key) for key in pair.keys)
    if straight is None or swapped is None:
        return None
    if straight == swapped == "tie":
        return Outcome(*pair, winner=None)
    if "tie" in (straight, swapped):
        return Outcome(*pair, winner=None, leaning="mixed")
    if straight == swapped:
        return Outcome(*pair, winner=None, leaning=straight)
    return Outcome(*pair, winner=pair.first if straight == "A" else pair.second)


def by_grades(pair: Pair, grades: Mapping[str, Mapping[str, int]]) -> Outcome | None:
    """Return who has the higher sum of grades, which are known by "question label"; None where one has none."""
    first, second = (grades.get(f"{pair.question.key} {label}") for label in (pair.first, pair.second))
    if first is None or second is None:
        return None
    one, other = sum(first.values()), sum(second.values())
    return Outcome(*pair, winner=None if one == other else pair.first if one > other else pair.second)


class Shares(NamedTuple):
    """Of the pairs that a model was in, which part it won, tied and lost."""

    wins: Interval
    ties: Interval
    losses: Interval


def shares(outcomes: Sequence[Outcome], label: str, rival: str | None = None) -> Shares:
    """Return a model's shares against one rival, or against all. Raises ValueError if it was in no pair."""
    own = [one for one in outcomes if label in one[1:3] and (rival is None or rival in one[1:3])]
    if not own:
        raise ValueError(f"{label} was in no pair")
    clusters = [one.question.cluster for one in own]
    results = [0 if one.winner == label else 1 if one.winner is None else 2 for one in own]
    return Shares(*(share_of_clusters([float(result == kind) for result in results], clusters) for kind in range(3)))


class Bias(NamedTuple):
    """How far order and length decided.

    `disagreed` is the share of asked pairs in which the two orders had unlike verdicts; of those, `for_first` and
    `for_second` were won both times by what stood first or second, and `mixed` had one tie. `longer_wins` is the share
    of decided pairs that the longer answer won: 0.5 if length does not count, unless longer answers are better.
    """

    disagreed: Interval | None
    for_first: int
    for_second: int
    mixed: int
    longer_wins: Interval | None


def bias(outcomes: Sequence[Outcome]) -> Bias:
    """Return what order and length did; None where there was nothing to see it by."""
    asked = [one for one in outcomes if not is_same(Pair(*one[:3]))]
    leanings = [one.leaning for one in asked]
    longer, clusters = [], []
    for one in asked:
        first, second = (len(one.question.answers[label].strip()) for label in (one.first, one.second))
        if one.winner is not None and first != second:
            longer.append(float((one.winner == one.first) == (first > second)))
            clusters.append(one.question.cluster)
    disagreed = [float(leaning is not None) for leaning in leanings]
    return Bias(
        share_of_clusters(disagreed, [one.question.cluster for one in asked]) if asked else None,
        leanings.count("A"),
        leanings.count("B"),
        leanings.count("mixed"),
        share_of_clusters(longer, clusters) if longer else None,
    )
