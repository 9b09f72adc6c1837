"""What can be scored without knowing anything: options told by their place, length or look, answers by the question.

A good exam leaves such rules near chance. What they reach is kept in the exam's record; a rule that surely beats chance
by much means that the exam measures something else than the trade.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from metier.core.scorers import scorer_for
from metier.core.scorers.agreement import words
from metier.core.types import Conversation
from metier.evaluate.multiple_choice import Item
from metier.evaluate.statistics import share_of_clusters

LEVEL = 0.05
"""Chance of calling any of the rules better than chance in an exam where none is."""


class Rule(NamedTuple):
    """What a rule without knowledge scores on `n` questions: its accuracy, with an interval, and that of guessing.

    The interval allows for the number of rules that are tried, and for questions of one source being alike.
    """

    name: str
    accuracy: float
    low: float
    high: float
    chance: float
    n: int

    @property
    def beats_chance(self) -> bool:
        """Whether the whole interval is above chance."""
        return self.low > self.chance

    @property
    def excess(self) -> float:
        """What is surely above chance; 0 where nothing is."""
        return max(0.0, self.low - self.chance)


def rules(items: Sequence[Item]) -> list[Rule]:
    """Return what each rule scores on multiple-choice questions, the most telling first. None without questions.

    The rules: the longest option, the shortest, every place, the option most like the others, the one least like them,
    the one that shares most words with the question. All but the last are blind to the question. Ties are shared out.
    """
    if not items:
        return []
    most = max(len(item.options) for item in items)
    preferences: dict[str, Callable[[Item], list[float]]] = {
        "the longest option": lambda item: [len(option) for option in item.options],
        "the shortest option": lambda item: [-len(option) for option in item.options],
        **{f"option {at + 1}": _place(at) for at in range(most)},
        "the option most like the others": _likeness,
        "the option least like the others": lambda item: [-value for value in _likeness(item)],
        "the option with most words of the question": _shared_with_question,
    }
    chance = sum(1 / len(item.options) for item in items) / len(items)
    sources = [item.source for item in items]
    found = []
    for name, preference in preferences.items():
        right = [_right(item, preference(item)) for item in items]
        share, low, high, n = share_of_clusters(right, sources, 1 - LEVEL / len(preferences))
        found.append(Rule(name, share, low, high, chance, n))
    return sorted(found, key=lambda rule: (-rule.excess, -rule.accuracy))


def echo(rows: Sequence[Conversation]) -> float | None:
    """Return the mean agreement that repeating the question gets on open questions; None where there are none."""
    graded = [row for row in rows if (row.check or {}).get("scorer") == "agreement"]
    if not graded:
        return None
    scorer = scorer_for("agreement")
    return sum(scorer.score(row.check or {}, row.messages[-2].content).value for row in graded) / len(graded)


def _right(item: Item, preference: Sequence[float]) -> float:
    best = max(preference)
    return (preference[item.answer] == best) / preference.count(best)


def _place(at: int) -> Callable[[Item], list[float]]:
    return lambda item: [float(place == at) for place in range(len(item.options))]


def _likeness(item: Item) -> list[float]:
    """Return the share of words (F1) that each option has in common with the others, summed over them."""
    bags = [words(option) for option in item.options]
    return [
        sum(2 * (one & two).total() / max(1, one.total() + two.total()) for two in bags if two is not one)
        for one in bags
    ]


def _shared_with_question(item: Item) -> list[float]:
    asked = words(item.question)
    return [(words(option) & asked).total() / max(1, words(option).total()) for option in item.options]
