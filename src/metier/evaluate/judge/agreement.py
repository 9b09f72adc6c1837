"""Whether a judge judges as people do: Cohen's kappa on pairs that people have labelled."""

from __future__ import annotations

import csv
import io
import json
import math
import random
from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import NormalDist
from typing import Any, NamedTuple

from metier.core.errors import Mistake
from metier.evaluate.judge.outcomes import Outcome
from metier.evaluate.statistics import ROUNDS, Interval, student_t, wilson


class Label(NamedTuple):
    """What a person found: `winner` is `first` or `second`, or None for a tie. `id` is that of the exam's item."""

    id: str
    first: str
    second: str
    winner: str | None


def read_labels(path: Path, models: Sequence[str]) -> list[Label]:
    """Return the labels of a CSV or JSONL file with the columns id, first, second, winner.

    `winner` is a model's label, "first", "second" or "tie". One pair may have several rows, by several people.

    Raises:
        Mistake: the file cannot be read, or a row lacks a column, names no model of the recipe, or has another winner.
    """
    found = []
    for number, row in _rows(path):
        where = f"{path.name}:{number}"
        if lacking := [name for name in Label._fields if not str(row.get(name) or "").strip()]:
            raise Mistake(f"{where} has no '{lacking[0]}'", found=", ".join(row), hint="id, first, second, winner")
        id, first, second, winner = (str(row[name]).strip() for name in Label._fields)
        if unknown := [label for label in (first, second) if label not in models]:
            raise Mistake(
                f"{where} names no model that is judged", found=unknown[0], hint=f"known: {', '.join(models)}"
            )
        if first == second:
            raise Mistake(f"{where} holds a model against itself", found=first)
        sides = {"first": first, "second": second, first: first, second: second}
        if winner not in sides and winner.casefold() != "tie":
            raise Mistake(
                f"{where} has a winner that was not in the pair", found=winner, hint=f"{first}, {second}, tie"
            )
        found.append(Label(id, first, second, sides.get(winner)))
    if not found:
        raise Mistake(f"{path.name} holds no labels", hint="one row a pair: id, first, second, winner")
    return found


def _rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix.lower() == ".csv":
            reader = csv.DictReader(io.StringIO(text), strict=True)
            for row in reader:
                if None in row:
                    raise ValueError(f"line {reader.line_num} has more cells than the first line has columns")
                yield reader.line_num, row
            return
        for number, line in enumerate(text.split("\n"), 1):  # other ends of lines (U+2028) may stand in a text
            if line.strip():
                row = json.loads(line)
                if not isinstance(row, dict):
                    raise ValueError(f"line {number} is no object")
                yield number, row
    except (OSError, ValueError, csv.Error) as error:
        raise Mistake(f"{path.name} is no readable .csv or .jsonl file", found=str(error)) from error


class Agreement(NamedTuple):
    """Cohen's kappa between the judge and people, and the share of labels on which they agree.

    `kappa` is None where one of them always said the same, so that there is no agreement beyond chance to measure.
    `unmatched` labels are of pairs that were not judged.
    """

    kappa: Interval | None
    agreed: float
    labels: int
    unmatched: int

    def trusted(self, least: float) -> bool:
        """Say whether kappa is `least` or more and its interval lies above chance."""
        return self.kappa is not None and self.kappa.value >= least and self.kappa.low > 0


def agreement(outcomes: Sequence[Outcome], labels: Sequence[Label], seed: int = 0) -> Agreement:
    """Hold the judge's outcomes against people's labels of the same pairs.

    Raises:
        Mistake: no label is of a pair that was judged.
    """
    judged: dict[tuple[str, frozenset[str]], list[Outcome]] = {}
    for one in outcomes:
        judged.setdefault((one.question.id, frozenset((one.first, one.second))), []).append(one)
    said: list[tuple[str, str]] = []
    clusters: list[Hashable] = []
    unmatched = 0
    for label in labels:
        matches = judged.get((label.id, frozenset((label.first, label.second))), [])
        unmatched += not matches
        for one in matches:
            said.append((_side(one.winner, one), _side(label.winner, one)))
            clusters.append(one.question.cluster)
    if not said:
        raise Mistake(
            "no label is of a pair that was judged",
            found=f"{len(labels)} labels, as of '{labels[0].id}'",
            hint="id is that of answers.jsonl; raise `limit` if there is one",
        )
    share = sum(judge == person for judge, person in said) / len(said)
    return Agreement(_interval(said, clusters, seed), share, len(said), unmatched)


def _side(winner: str | None, one: Outcome) -> str:
    return "tie" if winner is None else "first" if winner == one.first else "second"


def cohens_kappa(said: Sequence[tuple[str, str]]) -> float | None:
    """Return (agreed - by chance) / (1 - by chance) of two raters (Cohen 1960), None where that is 0 / 0."""
    counts, n = Counter(said), len(said)
    ours, theirs = Counter(one for one, _ in said), Counter(other for _, other in said)
    agreed = sum(count for (one, other), count in counts.items() if one == other) / n
    by_chance = sum(ours[side] * theirs[side] for side in ours) / n**2
    return None if by_chance == 1 else (agreed - by_chance) / (1 - by_chance)


def _interval(said: Sequence[tuple[str, str]], clusters: Sequence[Hashable], seed: int) -> Interval | None:
    """Return kappa with a bootstrap interval over clusters, widened for few of them (Hesterberg 2015).

    Where nobody disagreed, it reaches down to the disagreement that so few clusters may hide (Wilson, n of n).
    """
    kappa = cohens_kappa(said)
    if kappa is None:
        return None
    members: dict[Hashable, list[tuple[str, str]]] = {}
    for one, cluster in zip(said, clusters, strict=True):
        members.setdefault(cluster, []).append(one)
    groups, rng = list(members.values()), random.Random(seed)
    if len(groups) < 2:
        return Interval(kappa, -math.inf, math.inf, len(said))
    if kappa == 1:
        by_chance = math.fsum((count / len(said)) ** 2 for count in Counter(one for one, _ in said).values())
        unseen = 1 - wilson(len(groups), len(groups))[0]
        return Interval(1.0, 1 - unseen / (1 - by_chance), 1.0, len(said))
    draws = ([one for group in rng.choices(groups, k=len(groups)) for one in group] for _ in range(ROUNDS // 2))
    drawn = sorted(found for draw in draws if (found := cohens_kappa(draw)) is not None)
    level = NormalDist().cdf(-math.sqrt(len(groups) / (len(groups) - 1)) * student_t(0.975, len(groups) - 1))
    low, high = (drawn[min(len(drawn) - 1, int(share * len(drawn)))] for share in (level, 1 - level))
    return Interval(kappa, low, high, len(said))
