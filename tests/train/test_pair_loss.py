"""Losses of pairs against references worked out by hand, and what is wrong with pairs before that."""

from __future__ import annotations

import math

import pytest
import torch

from metier.core.chat import Message
from metier.core.types import Preference
from metier.train.lint import fault, lint
from metier.train.options import PairLoss
from metier.train.pair_loss import Pairs, pair_loss

# One pair: chosen -4 nats in 4 tokens (reference -6), rejected -9 in 3 tokens (reference -6).
PAIR = Pairs(*(torch.tensor([value]) for value in (-4.0, -9.0, -6.0, -6.0, 4.0, 3.0)))


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def odds(log_p: float) -> float:
    return math.exp(log_p) / (1 - math.exp(log_p))


# The margin is (-4 + 6) - (-9 + 6) = 5 nats; a token's, 2/4 - (-3/3) = 1.5; means of the policy are -1 and -3.
BY_HAND: dict[PairLoss, float] = {
    "sigmoid": -math.log(sigmoid(0.1 * 5)),
    "hinge": 1 - 0.1 * 5,
    "ipo": (1.5 - 1 / (2 * 0.1)) ** 2,
    "robust": (-0.8 * math.log(sigmoid(0.5)) + 0.2 * math.log(sigmoid(-0.5))) / 0.6,
    "apo_zero": (1 - sigmoid(0.1 * 2)) + sigmoid(0.1 * -3),
    "sigmoid_norm": -math.log(sigmoid(0.1 * 1.5)),
    "simpo": -math.log(sigmoid(0.1 * (-1 + 3) - 0.5)),
    "orpo": 1.0 - 0.1 * math.log(sigmoid(math.log(odds(-1.0)) - math.log(odds(-3.0)))),
}


@pytest.mark.parametrize("kind", BY_HAND)
def test_each_loss_is_what_its_paper_says(kind: PairLoss) -> None:
    found = pair_loss(kind, PAIR, beta=0.1, gamma=0.5, label_smoothing=0.2)
    assert float(found) == pytest.approx(BY_HAND[kind], rel=1e-5)


@pytest.mark.parametrize("kind", BY_HAND)
def test_a_likelier_chosen_answer_lowers_each_loss_that_has_not_passed_its_aim(kind: PairLoss) -> None:
    chosen = PAIR.chosen.clone().requires_grad_()
    pair_loss(kind, PAIR._replace(chosen=chosen), 0.1, 0.5, 0.2).sum().backward()  # type: ignore[no-untyped-call]
    assert chosen.grad is not None and float(chosen.grad) < 0


def test_a_certain_answer_has_finite_odds() -> None:
    certain = Pairs(*(torch.tensor([value]) for value in (0.0, -9.0, 0.0, 0.0, 4.0, 3.0)))
    assert math.isfinite(float(pair_loss("orpo", certain, 0.1)))


def pair(chosen: str, rejected: str, prompt: str = "q", name: str = "p") -> Preference:
    return Preference(name, [Message("user", prompt)], chosen, rejected, 1.0, 0.0, "test")


def test_pairs_that_teach_nothing_are_left_out_with_the_reason() -> None:
    assert fault(pair("Yes. ", " Yes.")) == "both answers equal"
    assert fault(pair("", "Yes.")) == "an answer is empty"
    assert fault(pair("The table holds the", "The table holds the orders.")) == "the chosen answer is cut short"
    assert fault(pair("The table.", "The table. It holds orders, and more.")) is None  # brief, and whole
    pairs = [pair("a", "b"), pair("b", "a"), pair("c", "d"), pair("a", "b", prompt="other"), pair("x", "x")]
    found = lint(pairs)
    assert found.kept == [pairs[2], pairs[3]]
    assert found.dropped == {"another pair says the opposite": 2, "both answers equal": 1}


def test_pairs_that_differ_by_length_alone_are_told() -> None:
    long = [pair("a long answer " * 3, f"short {n}", name=str(n)) for n in range(20)]
    assert "100% of the chosen answers are longer" in lint(long).warnings[0]
    mixed = long[:12] + [pair(f"short {n}", "a long answer " * 3) for n in range(8)]
    assert lint(mixed).warnings == []
    assert lint(long[:10]).warnings == []  # too few to say
