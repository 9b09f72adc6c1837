"""Calibration: the expected error worked out by hand, and what it does on models whose truth is known."""

from __future__ import annotations

import math
import random

import pytest
from pytest import approx

from metier.core.engine.likelihood import Likelihood
from metier.evaluate.calibration import LEAST_IN_BIN, Choice, calibration, choices, confidence
from metier.evaluate.choices import chosen
from metier.evaluate.multiple_choice import Item


def drawn(rng: random.Random, n: int, too_sure: float) -> list[Choice]:
    """Return choices that are right `too_sure` less often than they are sure, four of a cluster."""
    found = []
    for at in range(n):
        sure = rng.uniform(0.3, 0.95)
        found.append(Choice(sure, rng.random() < sure - too_sure, at // 4))
    return found


def test_confidence_is_the_softmax_of_likelihoods_where_options_are_equally_long() -> None:
    nats = [math.log(p) for p in (0.02, 0.005, 0.01, 0.005)]
    assert confidence(nats, [60] * 4) == approx(0.5)  # 0.02 of 0.04


def test_confidence_is_that_of_the_option_with_most_nats_per_byte_and_shortness_is_no_gain() -> None:
    # -1 per byte and -2 per byte at the mean length 15: exp(-15) against exp(-30)
    assert confidence([-10.0, -40.0], [10, 20]) == approx(1 / (1 + math.exp(-15)))
    assert confidence([-20.0, -20.0], [20, 20]) == approx(0.5)


@pytest.mark.parametrize(("nats", "lengths"), [([-1.0], [3]), ([-1.0, -2.0], [3, 0]), ([-1.0, -math.inf], [3, 3])])
def test_a_confidence_of_nothing_is_refused(nats: list[float], lengths: list[int]) -> None:
    with pytest.raises(ValueError, match="two options or more"):
        confidence(nats, lengths)


def test_the_error_is_the_mean_distance_of_confidence_and_share_right_over_bins() -> None:
    # two bins of 20: sure 0.6 and right 10 of 20, sure 0.9 and right 14 of 20: (0.1 + 0.2) / 2
    found = [Choice(0.6, at < 10, f"a{at}") for at in range(20)] + [Choice(0.9, at < 14, f"b{at}") for at in range(20)]
    told = calibration(found, bins=2)
    assert told.error.value == approx(0.15)
    assert told.excess.value == approx(0.15)
    assert [one.confidence for one in told.bins] == approx([0.6, 0.9])
    assert [(one.right.value, one.right.n) for one in told.bins] == [(0.5, 20), (0.7, 20)]


def test_bins_hold_equally_many_items_and_there_are_fewer_where_items_are_few() -> None:
    rng = random.Random(0)
    sizes = [one.right.n for one in calibration(drawn(rng, 401, 0.0)).bins]
    assert len(sizes) == 10 and max(sizes) - min(sizes) <= 1
    assert len(calibration(drawn(rng, 2 * LEAST_IN_BIN, 0.0)).bins) == 2
    assert len(calibration(drawn(rng, 3, 0.0)).bins) == 1


def test_a_calibrated_model_has_no_error_that_chance_does_not_explain() -> None:
    told = calibration(drawn(random.Random(3), 800, 0.0))
    assert told.error.low == 0.0
    assert told.error.value == approx(told.by_chance, abs=0.02)
    assert told.excess.low < 0 < told.excess.high


def test_what_chance_explains_grows_with_clusters_that_succeed_together() -> None:
    rng = random.Random(5)
    alone = drawn(rng, 300, 0.0)
    fours = [one._replace(cluster=at) for at, one in enumerate(alone) for _ in range(4)]  # each four times over
    one, four, taken_for_alone = (
        calibration(alone),
        calibration(fours),
        calibration([c._replace(cluster=n) for n, c in enumerate(fours)]),
    )
    assert four.by_chance == approx(one.by_chance, rel=0.2)  # the same knowledge
    assert four.by_chance == approx(2 * taken_for_alone.by_chance, rel=0.15)  # a fourth of the items


def test_a_calibrated_model_is_found_wanting_in_few_exams_of_clusters() -> None:
    rng, alarms = random.Random(11), 0
    for seed in range(40):
        fours = [one._replace(cluster=at) for at, one in enumerate(drawn(rng, 75, 0.0)) for _ in range(4)]
        alarms += calibration(fours, seed=seed).error.low > 0
    assert alarms <= 4


def test_a_model_that_is_too_sure_is_found_and_the_intervals_hold_the_truth() -> None:
    rng, held = random.Random(7), 0
    for seed in range(10):
        told = calibration(drawn(rng, 300, 0.15), seed=seed)
        assert told.excess.low > 0
        held += told.error.low <= 0.15 <= told.error.high
    assert held >= 8


def test_choices_in_one_cluster_have_a_wider_interval_than_alone() -> None:
    alone = [Choice(0.7, at % 3 > 0, at) for at in range(300)]
    together = [one._replace(cluster=one.right) for one in alone]
    wide, narrow = calibration(together).excess, calibration(alone).excess
    assert wide.high - wide.low > narrow.high - narrow.low


def test_choices_of_a_single_cluster_have_intervals_with_ends() -> None:
    found = calibration([Choice(0.7, at % 3 > 0, "a") for at in range(30)])
    assert (found.error.low, found.error.high, found.excess.low, found.excess.high) == (0.0, 1.0, -1.0, 1.0)


def test_the_examination_writes_what_calibration_reads() -> None:
    item = Item("1", "Which?", ["aaaa", "bbbb", "cccc", "dddd"], 1, "doc", "sentence ending")
    row = chosen(item, [Likelihood(nats, 2) for nats in (-8.0, -4.0, -8.0, -8.0)])
    (found,) = choices([row, {"id": "2", "score": 1.0, "answer": "an old row"}])
    assert found.right and found.cluster == "doc"
    assert found.confidence == approx(1 / (1 + 3 * math.exp(-4)))


def test_the_calibration_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="no choices"):
        calibration([])
