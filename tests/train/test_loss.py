from __future__ import annotations

import math

import pytest
import torch

from metier.train import loss
from metier.train.loss import dpo_loss, token_log_probabilities


def by_torch(hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return (hidden @ weight.T).log_softmax(-1).gather(1, targets[:, None])[:, 0]


@pytest.mark.parametrize("keep_bytes", [1 << 30, 0], ids=["slopes kept", "slopes worked out again"])
def test_chunks_give_the_values_and_gradients_of_the_whole(monkeypatch: pytest.MonkeyPatch, keep_bytes: int) -> None:
    monkeypatch.setattr(loss, "KEEP_BYTES", keep_bytes)
    monkeypatch.setattr(loss, "CHUNK_BYTES", 4 * 50 * 3)  # 3 positions of a vocabulary of 50
    torch.manual_seed(0)
    hidden, weight = torch.randn(8, 6, requires_grad=True), torch.randn(50, 6, requires_grad=True)
    targets, each = torch.randint(0, 50, (8,)), torch.randn(8)
    want = by_torch(hidden, weight, targets)
    want_grads = torch.autograd.grad((want * each).sum(), (hidden, weight))
    got = token_log_probabilities(hidden, weight, targets, torch.float32)
    got_grads = torch.autograd.grad((got * each).sum(), (hidden, weight))
    torch.testing.assert_close(got, want)
    torch.testing.assert_close(got_grads, want_grads)


def test_no_trained_position_gives_no_values_and_no_gradient() -> None:
    hidden, weight = torch.zeros(0, 6, requires_grad=True), torch.randn(50, 6, requires_grad=True)
    got = token_log_probabilities(hidden, weight, torch.zeros(0, dtype=torch.long), torch.float32)
    got.sum().backward()  # type: ignore[no-untyped-call]
    assert got.shape == (0,)
    assert weight.grad is not None and float(weight.grad.abs().sum()) == 0


def test_uniform_logits_cost_the_logarithm_of_the_vocabulary() -> None:
    got = token_log_probabilities(torch.zeros(2, 4), torch.randn(50, 4), torch.tensor([1, 2]), torch.float32)
    assert got.tolist() == pytest.approx([-math.log(50)] * 2)


def test_dpo_loss_is_log_two_when_the_policy_is_the_reference() -> None:
    chosen, rejected = torch.tensor([-7.0]), torch.tensor([-5.0])
    assert dpo_loss(chosen, rejected, chosen, rejected, 0.1).item() == pytest.approx(math.log(2))


def test_dpo_loss_worked_out_by_hand() -> None:
    # margin = (-4 - -6) - (-9 - -8) = 2 + 1 = 3 nats; beta 0.5: loss = log(1 + e^-1.5) = 0.20141
    got = dpo_loss(torch.tensor(-4.0), torch.tensor(-9.0), torch.tensor(-6.0), torch.tensor(-8.0), 0.5)
    assert got.item() == pytest.approx(0.20141, abs=1e-5)
