"""Successive halving: many candidates on few items, the better ones on more, the best on all."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple


class Round(NamedTuple):
    """One round: on how many of the items so many candidates are measured."""

    candidates: int
    items: int


def rounds(candidates: int, items: int, share: int, least: int) -> list[Round]:
    """Return the rounds for `candidates` and `items` where one in `share` goes on (Jamieson and Talwalkar 2016).

    Each round costs about the same: the next has 1/`share` of the candidates on `share` times the items. The last has
    all items, and none has fewer than `least`: where that leaves fewer rounds, more candidates reach the last.
    """
    wanted = max(1, math.ceil(math.log(max(1, candidates), share) - 1e-9))
    affordable = 1 + max(0, math.floor(math.log(max(1, items) / least, share) + 1e-9))
    count = min(wanted, affordable)
    return [
        Round(math.ceil(candidates / share**at), math.ceil(items / share ** (count - 1 - at))) for at in range(count)
    ]


class Standing(NamedTuple):
    """How far a candidate came: its mean on the items of its last round, and that round's number from 0."""

    mean: float
    items: int
    round: int


def halving(
    candidates: int,
    plan: Sequence[Round],
    measure: Callable[[Sequence[int], int], Sequence[float]],
    always: Sequence[int] = (),
) -> list[Standing]:
    """Return the standing of each candidate; of equal ones the earlier goes on.

    Args:
        measure: given candidates and a number of items, returns the mean of each on the first so many items.
        always: candidates that go on in any case.
    """
    standing: dict[int, Standing] = {}
    left = list(range(candidates))
    for number, one in enumerate(plan):
        if number:
            best = sorted(left, key=lambda at: -standing[at].mean)[: one.candidates]
            left = sorted({*best, *always})
        for at, mean in zip(left, measure(left, one.items), strict=True):
            standing[at] = Standing(mean, one.items, number)
    return [standing[at] for at in range(candidates)]
