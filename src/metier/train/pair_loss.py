"""Losses of preference pairs, from log-probabilities of whole answers. Names as in TRL."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch.nn.functional import logsigmoid

from metier.train.loss import dpo_loss
from metier.train.options import PairLoss


class Pairs(NamedTuple):
    """Log-probabilities of P pairs, summed over an answer's tokens, and how many tokens those are; all [P]."""

    chosen: torch.Tensor
    rejected: torch.Tensor
    reference_chosen: torch.Tensor
    reference_rejected: torch.Tensor
    chosen_tokens: torch.Tensor
    rejected_tokens: torch.Tensor


def pair_loss(
    kind: PairLoss, pairs: Pairs, beta: float, gamma: float = 0.0, label_smoothing: float = 0.0
) -> torch.Tensor:
    """Return the loss of each pair, [P].

    Args:
        kind: sigmoid is DPO (Rafailov et al. 2023, eq. 7); hinge is SLiC's (Zhao et al. 2023); ipo is eq. 17 of Azar et
            al. 2023 on means over an answer's tokens, as its authors confirmed to TRL; robust is Chowdhury et al. 2024;
            apo_zero is eq. 7 of D'Oosterlinck et al. 2024, which is KTO's loss on pairs with its reference point at 0;
            sigmoid_norm is DPO on means over tokens; simpo is Meng et al. 2024, eq. 6; orpo is Hong et al. 2024, its
            likelihood term on the chosen answer only. The last two take no reference.
        beta: how strongly the reference holds the model back; of simpo the scale of the reward, of orpo lambda.
        gamma: simpo's margin.
        label_smoothing: robust: the share of pairs that are thought to be the wrong way round.
    """
    if kind == "simpo":
        return -logsigmoid(beta * (_mean(pairs, "chosen") - _mean(pairs, "rejected")) - gamma)
    if kind == "orpo":
        chosen_P, rejected_P = _mean(pairs, "chosen"), _mean(pairs, "rejected")
        return -chosen_P - beta * logsigmoid(_log_odds(chosen_P) - _log_odds(rejected_P))
    chosen_P = pairs.chosen - pairs.reference_chosen
    rejected_P = pairs.rejected - pairs.reference_rejected
    margin_P = beta * (chosen_P - rejected_P)
    if kind == "sigmoid":
        return dpo_loss(*pairs[:4], beta)
    if kind == "hinge":
        return torch.relu(1 - margin_P)
    if kind == "apo_zero":
        return 1 - torch.sigmoid(beta * chosen_P) + torch.sigmoid(beta * rejected_P)
    if kind == "robust":
        flipped = label_smoothing
        return -((1 - flipped) * logsigmoid(margin_P) - flipped * logsigmoid(-margin_P)) / (1 - 2 * flipped)
    per_token_P = chosen_P / pairs.chosen_tokens - rejected_P / pairs.rejected_tokens
    if kind == "ipo":
        return (per_token_P - 1 / (2 * beta)) ** 2
    return -logsigmoid(beta * per_token_P)  # sigmoid_norm


def _mean(pairs: Pairs, which: Literal["chosen", "rejected"]) -> torch.Tensor:
    if which == "chosen":
        return pairs.chosen / pairs.chosen_tokens
    return pairs.rejected / pairs.rejected_tokens


def _log_odds(log_p_P: torch.Tensor) -> torch.Tensor:
    """Return log(p / (1 - p)) from log p; a p of 1 is held a little below it."""
    log_p_P = log_p_P.clamp(max=-1e-6)
    return log_p_P - torch.log(-torch.expm1(log_p_P))
