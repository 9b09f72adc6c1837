"""Attention over a packed window: each block by itself, and in a block no tail sees another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention

from metier.core import Mistake
from metier.train.packing import Block

NAME = "metier_blocks"
_CHANGES_THE_SCORES = ("softcap", "s_aux", "position_bias")


def tails_mask(prefix: int, tails: Sequence[int], device: torch.device) -> torch.Tensor:
    """Return who may see whom in a block, [T, T]: what came before, in the prefix or in one's own tail."""
    parts = [torch.full((length,), index) for index, length in enumerate((prefix, *tails))]
    part_T = torch.cat(parts).to(device)
    seen_TT = (part_T[:, None] == part_T[None, :]) | (part_T[None, :] == 0)
    return seen_TT.tril()


def prepared(
    blocks: Sequence[tuple[int, int, tuple[int, ...]]], device: torch.device
) -> list[tuple[int, int, torch.Tensor | None]]:
    """Return (start, end, mask) of every block; a block of one row needs no mask, which is the faster kernel.

    Args:
        blocks: the fields of `Block`, as plain tuples.
    """
    found = []
    for block in map(Block._make, blocks):
        mask_TT = tails_mask(block.prefix, block.tails, device) if len(block.tails) > 1 else None
        found.append((block.start, block.start + block.length, mask_TT))
    return found


def block_attention(
    module: torch.nn.Module,
    query_BHTD: torch.Tensor,
    key_BGTD: torch.Tensor,
    value_BGTD: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    blocks: Sequence[tuple[int, int, torch.Tensor | None]] = (),
    sliding_window: int | None = None,
    **others: Any,
) -> tuple[torch.Tensor, None]:
    """Attend within each block; the cost grows with the square of a block's length, not the window's.

    Raises:
        Mistake: the model's attention has a term this does not compute.
    """
    unknown = [name for name in _CHANGES_THE_SCORES if others.get(name) is not None]
    if sliding_window is not None and any(end - start > sliding_window for start, end, _ in blocks):
        unknown.append(f"a sliding window of {sliding_window} tokens, shorter than a row")
    if unknown:
        raise Mistake(
            "this model's attention cannot be trained on packed rows",
            found=", ".join(unknown),
            hint="choose a model of the Llama, Qwen or SmolLM families, or a shorter sequence_length",
        )
    groups = query_BHTD.shape[1] // key_BGTD.shape[1]
    key_BHTD, value_BHTD = (x.repeat_interleave(groups, dim=1) if groups > 1 else x for x in (key_BGTD, value_BGTD))
    parts = [
        scaled_dot_product_attention(
            query_BHTD[:, :, start:end],
            key_BHTD[:, :, start:end],
            value_BHTD[:, :, start:end],
            attn_mask=mask_TT,
            dropout_p=dropout,
            is_causal=mask_TT is None,
            scale=scaling,
        )
        for start, end, mask_TT in blocks
    ]
    out_BHTD = parts[0] if len(parts) == 1 else torch.cat(parts, dim=2)
    return out_BHTD.transpose(1, 2).contiguous(), None


def register() -> str:
    """Make the attention known to transformers and return its name there."""
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(NAME, block_attention)
    # No mask is built: the blocks say it all.
    AttentionMaskInterface.register(NAME, lambda *_args, **_kwargs: None)
    return NAME
