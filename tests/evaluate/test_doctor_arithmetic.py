"""The arithmetic of the doctor's tests, by hand and by simulation."""

from __future__ import annotations

import math
import random

from pytest import approx

from metier.evaluate.doctor.arithmetic import (
    LEVEL,
    binomial_tail,
    design_effect,
    factor_beyond,
    perplexity_above,
    rise_above,
    share_above,
    share_seen,
)
from metier.evaluate.gate import Paired, chance


def test_the_binomial_tail_is_that_of_counting() -> None:
    by_hand = sum(math.comb(20, k) * 0.1**k * 0.9 ** (20 - k) for k in range(5, 21))
    assert binomial_tail(5, 20, 0.1) == approx(by_hand)
    assert binomial_tail(0, 20, 0.1) == 1.0


def test_the_share_that_is_seen_is_found_four_times_in_five() -> None:
    reach = share_seen(120, 0.05)
    critical = next(hits for hits in range(121) if binomial_tail(hits, 120, 0.05) <= LEVEL)
    assert binomial_tail(critical, 120, reach) == approx(0.8, abs=1e-3)
    assert share_seen(1, 0.05) == 1.0  # one answer finds nothing


def test_what_is_seen_of_a_factor_is_found_four_times_in_five() -> None:
    """Both sides are tested, so each has half the level: with the whole of it more would seem to be seen."""
    rng, found = random.Random(0), 0
    sees = factor_beyond([rng.gauss(0, 0.6) for _ in range(120)], range(120), 2.0).sees
    assert sees is not None
    for _ in range(300):
        logs = [rng.gauss(math.log(sees), 0.6) for _ in range(120)]
        longer = Paired([-log for log in logs], [1.0] * 120, range(120), math.log(2))
        found += 2 * chance(longer) <= LEVEL
    assert 0.78 <= found / 300 <= 0.88


def test_whole_clusters_count_once() -> None:
    flags = [True] * 4 + [False] * 36
    alone, together = (share_above(flags, clusters, 0.05) for clusters in (range(40), [at // 4 for at in range(40)]))
    assert alone.p == approx(binomial_tail(4, 40, 0.05))
    # one cluster of ten: each counts as one item, hits are rounded down
    assert design_effect([float(flag) for flag in flags], [at // 4 for at in range(40)]) == approx(4 * 10 / 9)
    assert together.p == 1.0
    assert design_effect([0.0] * 40, [at // 4 for at in range(40)]) == 4.0


def test_a_rise_within_the_bound_is_none() -> None:
    before, after = [False] * 100, [True] * 4 + [False] * 96
    assert rise_above(before, after, range(100), 0.05).p > 0.3
    after = [True] * 30 + [False] * 70
    found = rise_above(before, after, range(100), 0.05)
    assert found.interval.value == approx(0.3) and found.p < LEVEL


def test_a_perplexity_is_held_to_its_bound_in_the_first_models_tokens() -> None:
    units = [50.0 + at for at in range(20)]
    before = [3.0 * unit for unit in units]
    rise = perplexity_above(before, [loss + 0.2 * unit for loss, unit in zip(before, units, strict=True)], units,
                            range(20), 0.1)  # fmt: skip
    assert rise.interval.value == approx(math.expm1(0.2)) and rise.p == approx(2**-20, rel=0.5)
    less = perplexity_above(before, [loss + 0.08 * unit for loss, unit in zip(before, units, strict=True)], units,
                            range(20), 0.1)  # fmt: skip
    assert less.p > 0.9


def test_three_times_as_long_and_a_third_are_both_beyond_a_factor_of_two() -> None:
    for log in (math.log(3), -math.log(3)):
        found = factor_beyond([log + 0.01 * (at % 3) for at in range(30)], range(30), 2.0)
        assert found.p < LEVEL
    assert factor_beyond([math.log(1.8)] * 30, range(30), 2.0).p == 1.0
