"""The gate on simulated models: how often it stops equal ones, and how often it finds a loss of 3 points.

The models are those of the gate's tests: questions in clusters of unlike difficulty, answered alike but for chance.
Each exam says by itself how many items it needs; power is measured at exactly that number. Coverage is that of the
paired intervals that the report shows.
"""

from __future__ import annotations

import math
import random
import time

from tests.evaluate.test_gate import false_alarms, perplexity_exam, power, share_exam

from benchmarks.record import Row, save
from metier.evaluate.gate import ALPHA, SOUGHT, chance, items_needed
from metier.evaluate.statistics import paired_difference, perplexity_ratio

_COMPARISONS = 2000
_EXAMS = 400
_INTERVALS = 800


def _alarms() -> Row:
    start = time.monotonic()
    share = false_alarms(_COMPARISONS, seed=11)
    return Row(
        "gate: false alarms between equal models", None, round(100 * share, 2), None, None, "% of comparisons",
        f"{_COMPARISONS} simulated comparisons of 7 figures, two of them perplexities", time.monotonic() - start,
        bar=f"<= {100 * ALPHA:g}%",
    )  # fmt: skip


def _power(per: int, alike: float) -> Row:
    start = time.monotonic()
    found = power(_EXAMS, per, alike, seed=12)
    needed = items_needed(share_exam(random.Random(12), 4000, per, share=alike), ALPHA / 6, SOUGHT)
    return Row(
        "gate: a loss of 3 points found with the stated number of items", None, round(100 * found, 1), None, None,
        "% of exams", f"{_EXAMS} simulated exams, {per} items a cluster, {alike:.0%} answered alike",
        time.monotonic() - start, bar=">= 80%", note=f"about {needed} items each",
    )  # fmt: skip


def _power_of_texts() -> Row:
    start, rng, found = time.monotonic(), random.Random(13), 0
    loss = math.log1p(SOUGHT)
    for _ in range(_EXAMS):
        needed = items_needed(perplexity_exam(rng, 60), ALPHA / 6, loss)
        assert needed is not None
        found += chance(perplexity_exam(rng, 2 * math.ceil(needed / 2), loss)) <= ALPHA / 6
    return Row(
        "gate: 3% of a perplexity found with the stated number of texts", None, round(100 * found / _EXAMS, 1), None,
        None, "% of exams", f"{_EXAMS} simulated exams, 2 texts a cluster", time.monotonic() - start, bar=">= 80%",
    )  # fmt: skip


def _coverage_of_shares(per: int, loss: float) -> Row:
    start, rng, covered = time.monotonic(), random.Random(14), 0
    for _ in range(_INTERVALS):
        pair = share_exam(rng, 120, per, loss)
        found = paired_difference([0.0] * 120, pair.gains, pair.clusters, rng.getrandbits(32))
        covered += found.low <= -loss <= found.high
    return _coverage(f"differences of shares, 120 items, {per} a cluster, true loss {loss:.0%}", covered, start)


def _coverage_of_texts() -> Row:
    start, rng, covered = time.monotonic(), random.Random(15), 0
    for _ in range(_INTERVALS):
        pair = perplexity_exam(rng, 80, 0.05)
        lost = [-gain for gain in pair.gains]
        found = perplexity_ratio([0.0] * 80, lost, pair.units, pair.clusters, rng.getrandbits(32))
        covered += found.low <= math.exp(0.05) <= found.high
    return _coverage("ratios of perplexities, 80 texts, 2 a cluster, true ratio e^0.05", covered, start)


def _coverage(what: str, covered: int, start: float) -> Row:
    return Row(
        "intervals: coverage of the truth", None, round(100 * covered / _INTERVALS, 1), None, None, "% of intervals",
        f"{_INTERVALS} simulated {what}", time.monotonic() - start, bar="95 +- 2%",
    )  # fmt: skip


def main() -> None:
    """Measure and save every row as it is there."""
    save("evaluate", [_alarms()])
    for per, alike in ((1, 0.6), (4, 0.6), (4, 0.9), (4, 0.97)):
        save("evaluate", [_power(per, alike)])
    save("evaluate", [_power_of_texts()])
    for per, loss in ((1, 0.0), (4, 0.0), (4, 0.03)):
        save("evaluate", [_coverage_of_shares(per, loss)])
    save("evaluate", [_coverage_of_texts()])


if __name__ == "__main__":
    main()
