"""The tests behind the doctor's findings: each asks whether something is worse than a stated bound, one-sided.

All checks together raise a false alarm on a healthy model in at most 5 of 100 diagnoses (Holm 1979).
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Hashable, Sequence
from typing import NamedTuple

from metier.evaluate.gate import ALPHA, POWER, Paired, chance, holm, noise_floor
from metier.evaluate.statistics import (
    Interval,
    cluster_sums,
    mean_of_clusters,
    paired_difference,
    perplexity_ratio,
    share_of_clusters,
)

CHECKS = 10  # at the most; what each can see is told for its share of the 5%
LEVEL = ALPHA / CHECKS


class Measured(NamedTuple):
    """One question put to the answers. `p` is that of "no worse than the bound"; `sees` is found with 80% power.

    measured, bound, interval and sees are in `unit`. An exact fact has no interval and p 0 or 1.
    """

    name: str
    what: str
    measured: float
    bound: float
    unit: str
    interval: tuple[float, float] | None
    n: int
    p: float
    sees: float | None
    words: str


class Verdict(NamedTuple):
    """What was measured with its 95% interval, and the p-value of "no worse than the bound".

    `sees` is the smallest measure that is found with 80% power, None where the items come in too few clusters to tell.
    """

    interval: Interval
    p: float
    sees: float | None


def share_above(flags: Sequence[bool], clusters: Sequence[Hashable], bound: float) -> Verdict:
    """Return the share of flagged items, the p-value of "at most `bound`", and the share found with 80% power.

    The p-value is the binomial tail, exact for independent items; items in clusters count as so many fewer as their
    design effect says (Kish 1965), rounded against a finding.
    """
    values = [float(flag) for flag in flags]
    interval = share_of_clusters(values, clusters)
    effect = design_effect(values, clusters)
    hits, n = math.floor(sum(values) / effect), max(1, math.ceil(len(values) / effect))
    return Verdict(interval, binomial_tail(hits, n, bound), share_seen(n, bound))


def design_effect(values: Sequence[float], clusters: Sequence[Hashable]) -> float:
    """Return by how much clusters widen the variance of a share, at least 1.

    Where all items are alike nothing shows it, and whole clusters are counted instead of items.
    """
    n, share = len(values), math.fsum(values) / len(values)
    sums = cluster_sums([(value - share,) for value in values], clusters)
    groups = len(sums)
    alone = share * (1 - share) / n
    if groups == n:
        return 1.0
    if alone == 0 or groups < 2:
        return n / groups
    between = groups / (groups - 1) * math.fsum(total * total for (total,) in sums) / n**2
    return max(1.0, between / alone)


def binomial_tail(hits: int, n: int, share: float) -> float:
    """Return P(at least `hits` of `n`) where each is a hit with probability `share`, strictly between 0 and 1."""
    if hits <= 0:
        return 1.0
    below = math.log(share), math.log1p(-share)
    choose = (math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) for k in range(hits, n + 1))
    terms = (math.exp(c + k * below[0] + (n - k) * below[1]) for k, c in enumerate(choose, hits))
    return min(1.0, math.fsum(terms))


def share_seen(n: int, bound: float) -> float:
    """Return the smallest share that a binomial test of "at most `bound`" finds in `n` items with 80% power; 1 if none.

    The level is that of one check among ten.
    """
    critical = bisect_left(range(1, n + 1), True, key=lambda hits: binomial_tail(hits, n, bound) <= LEVEL) + 1
    if critical > n:
        return 1.0
    low, high = bound, 1 - 1e-9
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (low, middle) if binomial_tail(critical, n, middle) >= POWER else (middle, high)
    return high


def rise_above(before: Sequence[bool], after: Sequence[bool], clusters: Sequence[Hashable], bound: float) -> Verdict:
    """Return the rise of a share between two models, item by item, the p-value of "at most `bound`", and what is seen.

    The p-value is the gate's: signs of whole clusters flipped in all ways. Towards the long tail of such
    differences it errs on the safe side.
    """
    first, second = [float(flag) for flag in before], [float(flag) for flag in after]
    pair = Paired([a - b for a, b in zip(first, second, strict=True)], [1.0] * len(first), clusters, bound)
    return Verdict(paired_difference(first, second, clusters), chance(pair), _seen(pair))


def perplexity_above(
    before: Sequence[float], after: Sequence[float], units: Sequence[float], clusters: Sequence[Hashable], bound: float
) -> Verdict:
    """Return the relative rise of a perplexity, the p-value of "at most `bound`", and the rise that is seen.

    before, after: nats of each text. units: tokens of the first model, so that unlike tokenizers do not matter.
    """
    pair = Paired([a - b for a, b in zip(before, after, strict=True)], units, clusters, math.log1p(bound))
    ratio = perplexity_ratio(before, after, units, clusters)
    seen = _seen(pair)
    interval = Interval(ratio.value - 1, ratio.low - 1, ratio.high - 1, ratio.n)
    return Verdict(interval, chance(pair), None if seen is None else math.expm1(seen))


def factor_beyond(logs: Sequence[float], clusters: Sequence[Hashable], factor: float) -> Verdict:
    """Return the geometric mean of ratios given as logarithms, and the p-value of "between 1/`factor` and `factor`".

    Both sides are tested, each at half the level.
    """
    # In units of 2: the gate takes units of 1 for grades, which vary the more the more is lost; logarithms do not.
    longer = Paired([-2 * log for log in logs], [2.0] * len(logs), clusters, math.log(factor))
    p = min(1.0, 2 * min(chance(longer), chance(longer._replace(gains=[2 * log for log in logs]))))
    mean, seen = mean_of_clusters(logs, clusters), _seen(longer, LEVEL / 2)
    interval = Interval(math.exp(mean.value), math.exp(mean.low), _exp(mean.high), mean.n)
    return Verdict(interval, p, None if seen is None else math.exp(seen))


def _exp(value: float) -> float:
    return math.exp(value) if value < 700 else math.inf


def _seen(pair: Paired, level: float = LEVEL) -> float | None:
    """Return the smallest loss per unit that is found with 80% power, the bound included."""
    floor = noise_floor(pair, level)
    return None if floor is None else pair.tolerated + floor


def adjusted(tests: Sequence[Measured]) -> list[Measured]:
    """Return the tests with p-values that bound the chance of any false alarm among all of them (Holm 1979)."""
    return [test._replace(p=p) for test, p in zip(tests, holm([test.p for test in tests]), strict=True)]
