"""Intervals: worked arithmetic, and simulated coverage."""

from __future__ import annotations

import math
import random

import pytest
from pytest import approx

from metier.evaluate.execution import grade_interval
from metier.evaluate.statistics import (
    few_changes,
    mean_of_clusters,
    paired_difference,
    perplexity_ratio,
    ratio_of_clusters,
    share_of_clusters,
    student_t,
    wilson,
)


def test_wilson_interval_by_hand() -> None:
    # 10 of 100, z = 1.96: centre (.1 + .019208) / 1.038416 = .114798, half .059572 / 1.038416... -> .0552 to .1744
    assert wilson(10, 100) == approx((0.0552, 0.1744), abs=5e-5)


def test_wilson_of_none_and_of_all() -> None:
    low, high = wilson(0, 112)
    assert low == 0.0 and high == approx(1.96**2 / (112 + 1.96**2), abs=1e-4)
    assert wilson(112, 112) == approx((1 - high, 1.0))
    with pytest.raises(ValueError):
        wilson(0, 0)


@pytest.mark.parametrize(("freedom", "table"), [(3, 3.182), (5, 2.571), (10, 2.228), (19, 2.093), (60, 2.000)])
def test_student_quantiles_are_those_of_the_tables(freedom: int, table: float) -> None:
    assert student_t(0.975, freedom) == approx(table, rel=5e-3)


def test_items_that_are_their_own_clusters_give_wilsons_interval() -> None:
    values = [1.0] * 30 + [0.0] * 70
    found = share_of_clusters(values, range(100))
    # the cluster variance has n/(n-1) in it: an effective 99 items
    assert (found.low, found.high) == approx(wilson(0.3 * 99, 99))
    assert (found.value, found.n) == (0.3, 100)


def test_copies_of_one_answer_count_once() -> None:
    # ten clusters of ten equal answers say no more than ten answers
    values = [float(cluster < 5) for cluster in range(10) for _ in range(10)]
    found = share_of_clusters(values, [cluster for cluster in range(10) for _ in range(10)])
    low, high = wilson(5, 10)
    assert found.low < low and found.high > high  # wider still, by Student's t


def test_all_wrong_still_has_an_upper_end() -> None:
    found = share_of_clusters([0.0] * 112, ["a", "b"] * 56)
    assert (found.value, found.low) == (0.0, 0.0) and found.high == approx(0.0332, abs=1e-4)


def test_ratio_is_that_of_the_sums_and_not_the_mean_of_ratios() -> None:
    # documents of 10 and 1000 bytes: (20 + 500) / 1010
    assert ratio_of_clusters([20, 500], [10, 1000], "ab").value == approx(520 / 1010)


def test_one_cluster_says_nothing_about_others() -> None:
    found = ratio_of_clusters([1, 2], [1, 1], "aa")
    assert (found.low, found.high) == (-math.inf, math.inf)


def test_grades_of_one_cluster_have_an_interval_of_all_that_grades_can_be() -> None:
    assert paired_difference([0.0, 0.5], [0.5, 1.0], "aa")[1:3] == (-1.0, 1.0)
    rows = [{"id": str(at), "cluster": "a", "score": at / 4} for at in range(4)]
    assert grade_interval(rows)[1:3] == (0.0, 1.0)


def test_clusters_that_agree_have_no_width() -> None:
    found = ratio_of_clusters([2, 4, 6], [1, 2, 3], "abc", shown=math.exp)
    assert (found.value, found.low, found.high) == approx((math.exp(2),) * 3)


def test_paired_perplexity_ratio_by_hand() -> None:
    # nats per token fall from 2.0 to 1.8 in both documents: exp(-0.2)
    found = perplexity_ratio([20, 40], [18, 36], [10, 20], "ab")
    assert (found.value, found.low, found.high) == approx((math.exp(-0.2),) * 3)


def test_pairing_removes_what_both_models_find_hard() -> None:
    rng = random.Random(1)
    hard = [rng.gauss(0, 1) for _ in range(60)]
    first = [value + rng.gauss(0, 0.05) for value in hard]
    second = [value + 0.1 + rng.gauss(0, 0.05) for value in hard]
    found = paired_difference(first, second, range(60))
    assert found.low > 0.05 and found.high < 0.15


def test_no_difference_seen_is_not_no_difference() -> None:
    found = paired_difference([0.0] * 100, [0.0] * 100, range(100))
    assert found.value == 0 and found.low == approx(-0.037, abs=1e-3) and found.high == approx(0.037, abs=1e-3)


def test_bonett_and_prices_interval_by_hand() -> None:
    # 3 of 50 gained, 1 lost; the variance has n/(n-1) in it, so 49 items count, of which 2.94 gained and .98 lost:
    # (3.94 - 1.98) / 51 = .0384; spread (3.94 + 1.98) / 51 - .0384^2 = .1146; half 1.96 sqrt(.1146 / 51) = .0929
    low, high = few_changes([1.0] * 3 + [-1.0] + [0.0] * 46, range(50))
    assert (low, high) == approx((0.0384 - 0.0929, 0.0384 + 0.0929), abs=1e-4)
    # Grades in quarters: everything is a quarter as large.
    quarters = few_changes([0.25] * 3 + [-0.25] + [0.0] * 46, range(50))
    assert quarters == approx((low / 4, high / 4))
    with pytest.raises(ValueError):
        few_changes([0.0] * 3, range(3))


def test_changes_that_cancel_in_every_cluster_are_still_uncertain() -> None:
    found = paired_difference([0.0, 1.0] * 20, [1.0, 0.0] * 20, [at // 2 for at in range(40)])
    assert found.value == 0 and found.low < -0.2 and found.high > 0.2  # of 40 independent items: +-0.3


def test_changes_of_all_items_alike_have_a_width_too() -> None:
    found = paired_difference([0.0] * 10, [1.0] * 10, range(10))
    assert found.value == 1.0 == found.high and 0.4 < found.low < 1


def changes(rng: random.Random, clusters: int, per: int, gained: float, lost: float, alike: float) -> list[float]:
    """Return changes of items, each with the chance `alike` that of its cluster."""

    def change() -> float:
        drawn = rng.random()
        return 1.0 if drawn < gained else -1.0 if drawn < gained + lost else 0.0

    found = []
    for _ in range(clusters):
        own = change()
        found += [own if rng.random() < alike else change() for _ in range(per)]
    return found


@pytest.mark.parametrize(
    ("clusters", "per", "alike", "gained", "lost"),
    [
        (30, 1, 0.0, 0.05, 0.02),  # the bootstrap alone: 89%
        (60, 1, 0.0, 0.05, 0.02),
        (60, 1, 0.0, 0.0, 0.08),
        (120, 1, 0.0, 0.1, 0.1),
        (30, 4, 0.0, 0.05, 0.02),
        (30, 4, 0.3, 0.1, 0.05),
    ],
)
def test_differences_of_few_changes_are_covered_in_at_least_93_of_100(
    monkeypatch: pytest.MonkeyPatch, clusters: int, per: int, alike: float, gained: float, lost: float
) -> None:
    monkeypatch.setattr("metier.evaluate.statistics.ROUNDS", 200)
    rng, covered = random.Random(5), 0
    for _ in range(300):
        differences = changes(rng, clusters, per, gained, lost, alike)
        names = [at // per for at in range(len(differences))]
        found = paired_difference([0.0] * len(differences), differences, names, rng.getrandbits(32))
        covered += found.low <= gained - lost <= found.high
    assert covered / 300 >= 0.93


def test_share_intervals_cover_the_truth_in_95_of_100_clustered_exams() -> None:
    # 20 schemas of 6 questions; a schema's own difficulty is drawn from Beta(2, 3), whose mean is 0.4
    rng = random.Random(7)
    clusters = [cluster for cluster in range(20) for _ in range(6)]
    covered = 0
    for _ in range(1000):
        skill = [rng.betavariate(2, 3) for _ in range(20)]
        found = share_of_clusters([float(rng.random() < skill[cluster]) for cluster in clusters], clusters)
        covered += found.low <= 0.4 <= found.high
    assert 0.93 <= covered / 1000 <= 0.97


def test_mean_intervals_cover_the_truth_in_95_of_100_clustered_exams(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metier.evaluate.statistics.ROUNDS", 400)  # enough for coverage, a fifth of the time
    rng = random.Random(8)
    clusters = [cluster for cluster in range(25) for _ in range(4)]
    covered = 0
    for _ in range(400):
        own = [rng.gauss(0, 1) for _ in range(25)]
        found = mean_of_clusters([own[cluster] + rng.gauss(0, 1) for cluster in clusters], clusters)
        covered += found.low <= 0 <= found.high
    assert 0.925 <= covered / 400 <= 0.975
