"""Log-probabilities of the tokens that are trained, and of no other."""

from __future__ import annotations

from typing import Any

import torch

CHUNK_BYTES = 1 << 28
"""Float32 logits held at a time: 1365 positions of a 49k vocabulary."""

KEEP_BYTES = 1 << 30
"""Up to this much, d(log p)/d(logits) is kept for the way back; above it, it is worked out a second time."""


CACHED_ROWS = 16
"""Rows of logits that are turned into probabilities at a time on a CPU: 3 MB of a 49k vocabulary."""


class TokenLogProbabilities(torch.autograd.Function):
    """log p(target) at N positions from hidden states [N, E] and the head's weight [V, E], a chunk at a time.

    The logits of all positions never exist at once, and only trained positions come here: on answers-only rows the
    head costs a quarter of scoring every token.
    """

    @staticmethod
    def forward(
        ctx: Any, hidden_NE: torch.Tensor, weight_VE: torch.Tensor, targets_N: torch.Tensor, dtype: torch.dtype
    ) -> torch.Tensor:
        """Return log-probabilities [N] in float32; matrix products are done in `dtype`."""
        hidden, weight = hidden_NE.to(dtype), weight_VE.to(dtype)
        count, vocabulary = hidden.shape[0], weight.shape[0]
        rows = max(1, CHUNK_BYTES // (4 * vocabulary))
        keep = ctx.needs_input_grad[0] and count * vocabulary * hidden.element_size() <= KEEP_BYTES
        values, kept = [], []
        for start in range(0, count, rows):
            chunk_slice = slice(start, start + rows)
            value, grad_NV = _chunk(hidden[chunk_slice], weight, targets_N[chunk_slice], keep)
            values.append(value)
            if grad_NV is not None:
                kept.append(grad_NV)
        ctx.save_for_backward(hidden, weight, targets_N, *kept)
        ctx.rows, ctx.kept = rows, keep
        ctx.in_dtypes = hidden_NE.dtype, weight_VE.dtype
        return torch.cat(values) if values else hidden.new_zeros(0, dtype=torch.float32)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None, None, None]:
        """Return the gradients of the hidden states and of the weight."""
        grad_N = grads[0]
        hidden, weight, targets_N, *kept = ctx.saved_tensors
        grad_hidden = torch.empty_like(hidden)
        # A head that is not trained, as under an adapter, has no gradient: half of the work here.
        grad_weight = torch.zeros_like(weight, dtype=ctx.in_dtypes[1]) if ctx.needs_input_grad[1] else None
        for index, start in enumerate(range(0, hidden.shape[0], ctx.rows)):
            chunk = slice(start, start + ctx.rows)
            slope_NV = kept[index] if ctx.kept else _slope(hidden[chunk], weight, targets_N[chunk])
            # The narrow sides of the products are scaled, and not the slopes, whose rows are as long as the vocabulary.
            scale_N1 = grad_N[chunk, None].to(hidden.dtype)
            grad_hidden[chunk] = (slope_NV @ weight) * scale_N1
            if grad_weight is not None:
                grad_weight += slope_NV.T @ (hidden[chunk] * scale_N1)
        return grad_hidden.to(ctx.in_dtypes[0]), grad_weight, None, None


def _slope(hidden_NE: torch.Tensor, weight_VE: torch.Tensor, targets_N: torch.Tensor) -> torch.Tensor:
    slope_NV = _chunk(hidden_NE, weight_VE, targets_N, True)[1]
    assert slope_NV is not None
    return slope_NV


def _chunk(
    hidden_NE: torch.Tensor, weight_VE: torch.Tensor, targets_N: torch.Tensor, slope: bool
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return log p(target) [N] and, if wanted, its slope by the logits, onehot - p, [N, V] in the head's dtype."""
    logits_NV = hidden_NE @ weight_VE.T
    value_N = logits_NV.new_empty(logits_NV.shape[0], dtype=torch.float32)
    # A few rows at a time on CPU, so that they stay in its cache; the slopes take the place of the logits.
    rows = CACHED_ROWS if logits_NV.device.type == "cpu" else max(1, logits_NV.shape[0])
    for start in range(0, logits_NV.shape[0], rows):
        part, targets_R1 = logits_NV[start : start + rows], targets_N[start : start + rows, None]
        log_p_RV = part.float().log_softmax(-1)
        value_N[start : start + rows] = log_p_RV.gather(1, targets_R1)[:, 0]
        if slope:
            slope_RV = log_p_RV.exp_().neg_()
            slope_RV.scatter_add_(1, targets_R1, torch.ones_like(targets_R1, dtype=torch.float32))
            part.copy_(slope_RV)
    return value_N, logits_NV if slope else None


def token_log_probabilities(
    hidden_NE: torch.Tensor, weight_VE: torch.Tensor, targets_N: torch.Tensor, dtype: torch.dtype
) -> torch.Tensor:
    """Return log p(target) at every position, [N] in float32, with its way back; see `TokenLogProbabilities`."""
    result: torch.Tensor = TokenLogProbabilities.apply(hidden_NE, weight_VE, targets_N, dtype)  # type: ignore[no-untyped-call]
    return result


def dpo_loss(
    chosen_P: torch.Tensor,
    rejected_P: torch.Tensor,
    reference_chosen_P: torch.Tensor,
    reference_rejected_P: torch.Tensor,
    beta: float,
) -> torch.Tensor:
    """Return -log sigmoid(beta * margin) of each pair, [P].

    The margin is how much more the policy prefers the chosen answer than the reference does, in nats; inputs are
    log-probabilities summed over an answer's tokens. Rafailov et al. 2023, "Direct Preference Optimization", eq. 7.
    """
    margin_P = (chosen_P - reference_chosen_P) - (rejected_P - reference_rejected_P)
    return -torch.nn.functional.logsigmoid(beta * margin_P)
