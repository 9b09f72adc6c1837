"""Attention for few new tokens over many cached ones, as a processor likes it."""

from __future__ import annotations

from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "metier_rows"

SHORT = 128
"""New tokens of a row up to which plain matrix products win over the fused kernel on a processor.

Measured in bfloat16 on one core, 9 heads of 64: 128 rows of 1 token over 120, 0.8 ms against 3.9; 40 rows of 30 over
110, 3.8 against 8.3; 12 rows of 128, 4.8 against 8.6; 3 rows of 512, 58 against 26.
"""


def rows_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """Return softmax(query · key + mask) · value, [N, Q, heads, size], as transformers' attention functions do.

    Heads that share keys are taken as more queries to them, so that keys are not repeated. Softmax is in float32.
    What is not a short masked read on a processor goes to the fused kernel.
    """
    rows, heads, new, size = query.shape
    plain = all(options.get(name) is None for name in ("softcap", "position_bias", "s_aux"))
    per_head = attention_mask is not None and attention_mask.shape[1] != 1
    if attention_mask is None or per_head or new > SHORT or query.device.type != "cpu" or not plain:
        found: tuple[torch.Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **options
        )
        return found
    shared, seen = key.shape[1], key.shape[2]
    # contiguous: a product with strided batches takes five times as long as the copy and the product together
    packed = query.reshape(rows, shared, heads // shared * new, size)
    scores = torch.matmul(packed, key.contiguous().transpose(2, 3)).view(rows, shared, heads // shared, new, seen)
    scores = scores * (scaling or size**-0.5)
    mask = attention_mask[:, :, None]  # one for all heads
    unseen = torch.finfo(scores.dtype).min
    scores = scores.masked_fill(~mask, unseen) if mask.dtype == torch.bool else scores + mask
    weights = torch.softmax(scores, dim=-1, dtype=torch.float32)
    mixed = torch.matmul(weights.to(value.dtype).view(rows, shared, -1, seen), value.contiguous())
    return mixed.view(rows, heads, new, value.shape[-1]).transpose(1, 2).contiguous(), None


AttentionInterface.register(NAME, rows_attention)
AttentionMaskInterface.register(NAME, sdpa_mask)
