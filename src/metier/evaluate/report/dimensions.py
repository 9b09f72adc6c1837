"""What each model knows, by dimension: terms, syntax, telling apart, understanding, reasoning, kinds of task."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from metier.evaluate.answer_log import Place, place_of
from metier.evaluate.dimensions import DIMENSIONS, TASK
from metier.evaluate.execution import grade_interval
from metier.evaluate.report.answers import Graded, Items, Outcome, graded, tally
from metier.evaluate.statistics import Interval, paired_difference

Row = Mapping[str, Any]

MOST_TASKS = 6
"""Kinds of task told apart on the radar; where there are more, "sql/join" and "sql/count" are both "sql"."""


class Standing(NamedTuple):
    """Where one model stands in one dimension. `change` is against the base on the same items, None for the base."""

    model: str
    share: Interval
    change: Interval | None


class Dimension(NamedTuple):
    """One dimension: the models that answered its items, and what became of the items from base to final model."""

    name: str
    standings: list[Standing]
    outcomes: dict[str, int]
    net: Interval | None

    def of(self, model: str) -> Standing | None:
        """Return where `model` stands, None if it was not asked."""
        return next((one for one in self.standings if one.model == model), None)


def dimensions(items: Mapping[str, Items], labels: Sequence[str], final: str) -> list[Dimension]:
    """Return the dimensions of the graded items of `labels`, the base first; outcomes are those of `final`.

    Items without a dimension, and those that tell forgetting, are in none. A model counts in a dimension only if it
    was graded on all items that the base was graded on.
    """
    stated = {row["dimension"] for rows in items.values() for row in _rows(rows)}
    broad = sum(name.startswith(TASK) for name in stated) > MOST_TASKS

    def called(row: Row) -> str:
        name = str(row["dimension"])
        return name.split("/")[0] if broad and name.startswith(TASK) else name

    found = {label: _by_dimension(items[label], called) for label in labels}
    base = labels[0]
    outcomes: dict[str, list[Graded]] = {}
    for one in graded(items[base], items[final]) if final != base else []:
        row = items[base][one.subject][one.id]
        if row.get("dimension"):
            outcomes.setdefault(called(row), []).append(one)
    names = dict.fromkeys(name for rows in found.values() for name in rows)
    return [_dimension(name, found, outcomes.get(name, []), items[base], labels) for name in sorted(names, key=order)]


def order(name: str) -> tuple[int, str]:
    """Sort key: the named dimensions first, then kinds of task by name."""
    return (DIMENSIONS.index(name) if name in DIMENSIONS else len(DIMENSIONS), name)


def _rows(items: Items) -> Iterator[Row]:
    """Yield what counts: graded, in a dimension, and of the trade."""
    for subject, rows in items.items():
        if not subject.metric.forgetting and subject.metric.higher_is_better is not False:
            yield from (row for row in rows.values() if row.get("dimension") and row.get("score") is not None)


def _by_dimension(items: Items, called: Callable[[Row], str]) -> dict[str, dict[Place, Row]]:
    found: dict[str, dict[Place, Row]] = {}
    for row in _rows(items):
        found.setdefault(called(row), {})[place_of(row)] = row
    return found


def _dimension(
    name: str,
    found: Mapping[str, Mapping[str, Mapping[Place, Row]]],
    own: Sequence[Graded],
    of_base: Items,
    labels: Sequence[str],
) -> Dimension:
    before = found[labels[0]].get(name, {})
    standings = []
    for label in labels:
        rows = found[label].get(name, {})
        if rows and (not before or rows.keys() == before.keys()):
            change = _change(before, rows) if before and label != labels[0] else None
            standings.append(Standing(label, grade_interval(list(rows.values())), change))
    outcomes = {outcome.value: count for outcome, count in tally(own).items()} if own else {}
    net = None
    if own:
        moves = {Outcome.WON: 1.0, Outcome.LOST: -1.0}
        clusters = [of_base[one.subject][one.id].get("cluster") or one.id for one in own]
        net = paired_difference([0.0] * len(own), [moves.get(one.outcome, 0.0) for one in own], clusters)
    return Dimension(name, standings, outcomes, net)


def _change(before: Mapping[Any, Row], after: Mapping[Any, Row]) -> Interval:
    grades = ([float(before[key]["score"]) for key in before], [float(after[key]["score"]) for key in before])
    return paired_difference(*grades, [row.get("cluster") or row["id"] for row in before.values()])
