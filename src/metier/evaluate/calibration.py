"""Whether a model is as sure of its choices as it is right: reliability by bins, and the expected calibration error.

Multiple choice is chosen by the likelihood of the options' own text per byte. Its confidence is the share that the
chosen option has of all options' likelihoods, taken at the mean length of the item's options: the largest share is then
always that of the option that was chosen, and no option gains by being short.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, NamedTuple

from metier.evaluate.statistics import (
    ROUNDS,
    Interval,
    cluster_sums,
    mean_of_clusters,
    share_of_clusters,
    student_t,
)

if TYPE_CHECKING:
    import numpy as np

BINS = 10
LEAST_IN_BIN = 15
"""Bins of fewer items say little; there are fewer bins where items are few."""


class Choice(NamedTuple):
    """One choice: the probability the model gave to what it chose, and whether that was right."""

    confidence: float
    right: bool
    cluster: Hashable


class Bin(NamedTuple):
    """Neighbouring choices by confidence: their mean confidence, the share that is right with its interval, and n."""

    confidence: float
    right: Interval
    low: float
    high: float


class Calibration(NamedTuple):
    """How far confidence and being right lie apart.

    `error` is the expected calibration error; `by_chance` is what a perfectly calibrated model with the same
    confidences would show on so many items in such clusters. `excess` is mean confidence less the share right: above 0
    is too sure.
    """

    error: Interval
    by_chance: float
    excess: Interval
    bins: list[Bin]


def confidence(nats: Sequence[float], lengths: Sequence[int]) -> float:
    """Return the probability of the option with the most nats per byte, among all of the options.

    Args:
        nats: log-probability of each option's text.
        lengths: of each option's text, in bytes.

    Raises:
        ValueError: there are fewer than two options, or one has no length or no finite log-probability.
    """
    if len(nats) < 2 or len(nats) != len(lengths) or min(lengths) <= 0 or not all(map(math.isfinite, nats)):
        raise ValueError("a confidence is among two options or more, each with a length and a finite likelihood")
    mean = math.fsum(lengths) / len(lengths)
    scores = [mean * value / length for value, length in zip(nats, lengths, strict=True)]
    best = max(scores)
    return 1 / math.fsum(math.exp(score - best) for score in scores)


def choices(rows: Sequence[Mapping[str, Any]]) -> list[Choice]:
    """Return the choices among the rows of answers.jsonl that tell their options' likelihoods."""
    return [
        Choice(
            confidence(row["option_nats"], row["option_bytes"]),
            float(row["score"]) == 1.0,
            row.get("cluster") or row["id"],
        )
        for row in rows
        if row.get("option_nats") and row.get("option_bytes") and row.get("score") is not None
    ]


def calibration(found: Sequence[Choice], bins: int = BINS, seed: int = 0) -> Calibration:
    """Return how well confidences are calibrated.

    The error is the mean distance of confidence and share right over bins, weighted by their items (Guo et al. 2017).
    Bins hold equally many items (Nguyen and O'Connor 2015): with bins of equal width, most are all but empty. Its
    interval is a bootstrap over clusters, reflected about the estimate, since resampling adds to an error that cannot
    be negative; widened for few clusters (Hesterberg 2015). It reaches down to 0 where a perfectly calibrated model
    would show as much in one exam of forty: its gaps are drawn item by item and widened by the clusters' design effect.

    Raises:
        ValueError: there are no choices.
    """
    import numpy as np

    if not found:
        raise ValueError("the calibration of no choices")
    ordered = sorted(found, key=lambda one: one.confidence)
    parts = max(1, min(bins, len(ordered) // LEAST_IN_BIN))
    bin_of = np.arange(len(ordered)) * parts // len(ordered)
    sure = np.array([one.confidence for one in ordered])
    right = np.array([one.right for one in ordered], dtype=float)
    clusters = [one.cluster for one in ordered]
    told = []
    for part in range(parts):
        own = [one for one, at in zip(ordered, bin_of, strict=True) if at == part]
        share = share_of_clusters([float(one.right) for one in own], [one.cluster for one in own])
        mean = math.fsum(one.confidence for one in own) / len(own)
        told.append(Bin(mean, share, own[0].confidence, own[-1].confidence))
    rng = np.random.default_rng(seed)
    error = _error(bin_of, sure, right, clusters, rng)
    draws = rng.random((ROUNDS // 4, len(ordered))) < sure
    perfect = _distance(_by_bin(bin_of, sure - draws), len(ordered)) * math.sqrt(
        _effect(bin_of, sure - right, clusters)
    )
    if error.value <= float(np.quantile(perfect, 0.975)):
        error = error._replace(low=0.0)
    excess = mean_of_clusters([one.confidence - one.right for one in ordered], clusters, seed)
    excess = excess._replace(low=max(-1.0, excess.low), high=min(1.0, excess.high))  # a single cluster has no ends
    return Calibration(error, float(perfect.mean()), excess, told)


def _effect(bin_of: np.ndarray[Any, Any], gaps: np.ndarray[Any, Any], clusters: Sequence[Hashable]) -> float:
    """Return by how much clusters widen the variance of the bins' gaps, at least 1 (Kish 1965).

    What a bin's items have in common is its error, so only what is left of their gaps counts.
    """
    import numpy as np

    means = _by_bin(bin_of, gaps) / np.bincount(bin_of)
    left = gaps - means[bin_of]
    parts = cluster_sums([(float(value),) for value in left], list(zip(clusters, bin_of.tolist(), strict=True)))
    groups, alone = len(set(clusters)), float((left**2).sum())
    if groups < 2 or alone == 0:
        return 1.0
    return max(1.0, groups / (groups - 1) * math.fsum(total * total for (total,) in parts) / alone)


def _by_bin(bin_of: np.ndarray[Any, Any], values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    import numpy as np

    starts = np.searchsorted(bin_of, np.arange(int(bin_of[-1]) + 1))
    sums: np.ndarray[Any, Any] = np.add.reduceat(values, starts, axis=-1)
    return sums


def _distance(gaps: np.ndarray[Any, Any], n: Any) -> np.ndarray[Any, Any]:
    import numpy as np

    found: np.ndarray[Any, Any] = np.abs(gaps).sum(axis=-1) / n
    return found


def _error(
    bin_of: np.ndarray[Any, Any],
    sure: np.ndarray[Any, Any],
    right: np.ndarray[Any, Any],
    clusters: Sequence[Hashable],
    rng: np.random.Generator,
) -> Interval:
    import numpy as np

    numbers = {cluster: number for number, cluster in enumerate(dict.fromkeys(clusters))}
    groups, n = len(numbers), len(clusters)
    value = float(_distance(_by_bin(bin_of, sure - right), n))
    if groups < 2:
        return Interval(value, 0.0, 1.0, n)
    gaps, counts = np.zeros((groups, int(bin_of[-1]) + 1)), np.zeros(groups)
    at = np.array([numbers[cluster] for cluster in clusters])
    np.add.at(gaps, (at, bin_of), sure - right)
    np.add.at(counts, at, 1)
    drawn = rng.multinomial(groups, [1 / groups] * groups, size=ROUNDS)
    resampled = _distance(drawn @ gaps, drawn @ counts)
    level = NormalDist().cdf(-math.sqrt(groups / (groups - 1)) * student_t(0.975, groups - 1))
    low, high = np.quantile(resampled, [level, 1 - level])
    return Interval(value, max(0.0, 2 * value - float(high)), min(1.0, max(value, 2 * value - float(low))), n)
