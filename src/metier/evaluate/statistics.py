"""Intervals that one can believe: shares, means and ratios whose items come in clusters, and paired differences.

Questions about one schema, or passages of one page, succeed and fail together; an interval that
takes them for independent is too narrow. Every function here takes the cluster of each item and a 95% level.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Hashable, Sequence
from statistics import NormalDist
from typing import NamedTuple

Z95 = NormalDist().inv_cdf(0.975)
ROUNDS = 2000
_FEW = 8  # clusters that changed: with two or three a bootstrap held the truth in 89 of 100, with a dozen in 95


class Interval(NamedTuple):
    """An estimate with its 95% interval and the number of items behind it."""

    value: float
    low: float
    high: float
    n: int


def student_t(probability: float, freedom: int) -> float:
    """Return the quantile of Student's t (Abramowitz and Stegun 26.7.5; within 0.5% from 3 degrees of freedom on)."""
    z = NormalDist().inv_cdf(probability)
    terms: tuple[float, ...] = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + sum(term / float(freedom) ** (power + 1) for power, term in enumerate(terms))


def wilson(successes: float, n: float, z: float = Z95) -> tuple[float, float]:
    """Return Wilson's score interval (1927) for `successes` of `n`, also of fractions. Raises ValueError if n is 0."""
    if n <= 0:
        raise ValueError("a share of no items has no interval")
    share = successes / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    # at the ends the formula is exact but its rounding is not
    return (0.0 if successes == 0 else max(0.0, centre - half)), (1.0 if successes == n else min(1.0, centre + half))


def share_of_clusters(values: Sequence[float], clusters: Sequence[Hashable], probability: float = 0.975) -> Interval:
    """Return the share of ones among 0/1 `values`: Wilson's interval on the effective number of items.

    Each end holds with `probability`. Marks between 0 and 1 vary less than ones and zeros of the same mean, so the
    interval is on the safe side of theirs.

    The design effect is the variance of the mean between clusters over that of independent items (Kish 1965), at
    least 1; Student's t with clusters - 1 degrees of freedom replaces the normal quantile (Korn and Graubard 1998).
    All zeros or all ones show no design effect, so their interval is that of independent items.
    """
    n, share = len(values), math.fsum(values) / max(1, len(values))
    sums = cluster_sums([(value - share,) for value in values], clusters)
    groups, alone = len(sums), share * (1 - share) / max(1, n)
    if groups < 2 or alone == 0:
        return Interval(share, *wilson(math.fsum(values), n, NormalDist().inv_cdf(probability)), n)
    between = groups / (groups - 1) * math.fsum(total * total for (total,) in sums) / n**2
    effective = n / max(1.0, between / alone)
    z = NormalDist().inv_cdf(probability) if groups == n else student_t(probability, groups - 1)
    return Interval(share, *wilson(share * effective, effective, z), n)


def mean_of_clusters(values: Sequence[float], clusters: Sequence[Hashable], seed: int = 0) -> Interval:
    """Return the mean of `values` with a bootstrap interval over clusters."""
    return ratio_of_clusters(values, [1.0] * len(values), clusters, seed)


def ratio_of_clusters(
    above: Sequence[float],
    below: Sequence[float],
    clusters: Sequence[Hashable],
    seed: int = 0,
    shown: Callable[[float], float] = float,
) -> Interval:
    """Return `shown(sum(above) / sum(below))` with a bootstrap interval over clusters.

    Whole clusters are drawn with replacement. Percentiles are widened for the bootstrap's small variance and for few
    clusters (Hesterberg 2015, "expanded percentile"). `shown` is increasing, as in exp for a perplexity.

    Raises:
        ValueError: there is nothing below.
    """
    sums = cluster_sums(list(zip(above, below, strict=True)), clusters)
    value = shown(math.fsum(above) / _positive(math.fsum(below)))
    groups = len(sums)
    if groups < 2:
        return Interval(value, -math.inf, math.inf, len(above))
    rng = random.Random(seed)
    drawn = sorted(_resampled(sums, rng) for _ in range(ROUNDS))
    level = NormalDist().cdf(-math.sqrt(groups / (groups - 1)) * student_t(0.975, groups - 1))
    low, high = _quantile(drawn, level), _quantile(drawn, 1 - level)
    return Interval(value, shown(low), shown(high), len(above))


def paired_difference(
    first: Sequence[float], second: Sequence[float], clusters: Sequence[Hashable], seed: int = 0
) -> Interval:
    """Return the mean of `second - first`, item by item, with an interval over clusters.

    Grades lie in 0..1, so the interval lies within -1..1, and is all of that for a single cluster. It is a bootstrap's
    over clusters. Where fewer than 8 clusters changed, or all of them alike, the bootstrap has next to nothing to draw
    from, and the interval reaches as far as `few_changes` too. Where no item differs at all, it is as wide as the share
    of differing items could be without one having been seen (Wilson, 0 of n).
    """
    differences = [b - a for a, b in zip(first, second, strict=True)]
    if differences and not any(differences):
        unseen = wilson(0, len(differences))[1]
        return Interval(0.0, -unseen, unseen, len(differences))
    found = mean_of_clusters(differences, clusters, seed)
    low, high = found.low, found.high
    changed = sum(total != 0 for (total,) in cluster_sums([(value,) for value in differences], clusters))
    if changed < _FEW or low == high:
        low, high = few_changes(differences, clusters)
    return found._replace(low=max(-1.0, min(found.low, low)), high=min(1.0, max(found.high, high)))


def few_changes(differences: Sequence[float], clusters: Sequence[Hashable]) -> tuple[float, float]:
    """Return an interval of the mean difference of paired items that is fair also where few of them changed.

    Bonett and Price (2012), "Adjusted Wald confidence interval for a difference of binomial proportions based on paired
    data": Wald's interval with one more item that gained and one more that lost. The number of items is the effective
    one, as in `share_of_clusters`. Of grades between 0 and 1 the two are as large as the largest change that was seen.

    Raises:
        ValueError: nothing changed, so that nothing says how large changes are.
    """
    n, most = len(differences), max(map(abs, differences), default=0.0)
    _positive(most)
    mean = math.fsum(differences) / n
    sums = cluster_sums([(value - mean,) for value in differences], clusters)
    groups, alone = len(sums), math.fsum((value - mean) ** 2 for value in differences)
    if groups < 2:
        return -math.inf, math.inf
    between = groups / (groups - 1) * math.fsum(total * total for (total,) in sums)
    effective = n / max(1.0, between / alone if alone else 1.0)
    centre = mean * effective / (effective + 2)
    square = math.fsum(value * value for value in differences) / n
    spread = (square * effective + 2 * most * most) / (effective + 2) - centre * centre
    z = Z95 if groups == n else student_t(0.975, groups - 1)
    half = z * math.sqrt(spread / (effective + 2))
    return centre - half, centre + half


def perplexity_ratio(
    first_nats: Sequence[float],
    second_nats: Sequence[float],
    units: Sequence[float],
    clusters: Sequence[Hashable],
    seed: int = 0,
) -> Interval:
    """Return perplexity(second) / perplexity(first) per unit (token or byte), paired by text, over clusters."""
    differences = [b - a for a, b in zip(first_nats, second_nats, strict=True)]
    return ratio_of_clusters(differences, units, clusters, seed, math.exp)


def cluster_sums(values: Sequence[tuple[float, ...]], clusters: Sequence[Hashable]) -> list[tuple[float, ...]]:
    """Return the column sums of `values` within each cluster."""
    found: dict[Hashable, list[tuple[float, ...]]] = {}
    for value, cluster in zip(values, clusters, strict=True):
        found.setdefault(cluster, []).append(value)
    return [tuple(map(math.fsum, zip(*members, strict=True))) for members in found.values()]


def _resampled(sums: Sequence[tuple[float, ...]], rng: random.Random) -> float:
    drawn = rng.choices(sums, k=len(sums))
    return sum(pair[0] for pair in drawn) / _positive(sum(pair[1] for pair in drawn))


def _quantile(ordered: Sequence[float], share: float) -> float:
    at = share * (len(ordered) - 1)
    below = math.floor(at)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (at - below) * (ordered[above] - ordered[below])


def _positive(value: float) -> float:
    if value <= 0:
        raise ValueError("there is nothing to divide by")
    return value
