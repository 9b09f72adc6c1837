"""Attention over a packed window: each block by itself, and in a block no tail sees another."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch.nn.functional import scaled_dot_product_attention

from metier.core import Mistake
from metier.train.packing import Block
from metier.train.tiles import tiled_attention

NAME = "metier_blocks"
_CHANGES_THE_SCORES = ("softcap", "s_aux", "position_bias")


def tails_mask(prefix: int, tails: Sequence[int], device: torch.device) -> torch.Tensor:
    """Return who may see whom in a block, [T, T]: what came before, in the prefix or in one's own tail."""
    parts = [torch.full((length,), index) for index, length in enumerate((prefix, *tails))]
    part_T = torch.cat(parts).to(device)
    seen_TT = (part_T[:, None] == part_T[None, :]) | (part_T[None, :] == 0)
    return seen_TT.tril()


class Blocks(NamedTuple):
    """The blocks of a window, made ready once for all layers.

    parts: (start, end, mask) of each; a block of one row needs no mask, which is the faster kernel. edges: where blocks
    begin and the last one ends, int32 on a GPU, if no block has a mask. longest: tokens of the longest block.
    """

    parts: list[tuple[int, int, torch.Tensor | None]]
    edges: torch.Tensor | None
    longest: int


def prepared(blocks: Sequence[tuple[int, int, tuple[int, ...]]], device: torch.device) -> Blocks:
    """Return the blocks as attention takes them.

    Args:
        blocks: the fields of `Block`, as plain tuples.
    """
    parts = []
    for block in map(Block._make, blocks):
        mask_TT = tails_mask(block.prefix, block.tails, device) if len(block.tails) > 1 else None
        parts.append((block.start, block.start + block.length, mask_TT))
    edges = None
    if device.type == "cuda" and all(mask_TT is None for *_, mask_TT in parts):
        edges = torch.tensor([0, *(end for _, end, _ in parts)], dtype=torch.int32, device=device)
    return Blocks(parts, edges, max((end - start for start, end, _ in parts), default=0))


_NONE = Blocks([], None, 0)


def block_attention(
    module: torch.nn.Module,
    query_BHTD: torch.Tensor,
    key_BGTD: torch.Tensor,
    value_BGTD: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    blocks: Blocks = _NONE,
    sliding_window: int | None = None,
    **others: Any,
) -> tuple[torch.Tensor, None]:
    """Attend within each block; the cost grows with the square of a block's length, not the window's.

    Raises:
        Mistake: the model's attention has a term this does not compute.
    """
    unknown = [name for name in _CHANGES_THE_SCORES if others.get(name) is not None]
    if sliding_window is not None and blocks.longest > sliding_window:
        unknown.append(f"a sliding window of {sliding_window} tokens, shorter than a row")
    if unknown:
        raise Mistake(
            "this model's attention cannot be trained on packed rows",
            found=", ".join(unknown),
            hint="choose a model of the Llama, Qwen or SmolLM families, or a shorter sequence_length",
        )
    dtype = _dtype(query_BHTD, value_BGTD)
    if query_BHTD.device.type == "cpu" and dropout == 0:
        scale = query_BHTD.shape[-1] ** -0.5 if scaling is None else scaling
        return tiled_attention(query_BHTD, key_BGTD, value_BGTD, blocks.parts, scale), None
    if blocks.edges is not None and dropout == 0 and _has_flash(query_BHTD, dtype):
        return _flash(query_BHTD.to(dtype), key_BGTD.to(dtype), value_BGTD.to(dtype), blocks, scaling), None
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
        for start, end, mask_TT in blocks.parts
    ]
    out_BHTD = parts[0] if len(parts) == 1 else torch.cat(parts, dim=2)
    return out_BHTD.transpose(1, 2).contiguous(), None


def _dtype(query: torch.Tensor, value: torch.Tensor) -> torch.dtype:
    """Return the format of the products: autocast's where it is on, which reaches no custom kernel by itself."""
    kind = query.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else value.dtype


def _has_flash(query_BHTD: torch.Tensor, dtype: torch.dtype) -> bool:
    """Whether FlashAttention's kernel takes these heads: 16 bits, at most 256 wide in eights, Ampere or newer."""
    width = query_BHTD.shape[-1]
    fits = dtype in (torch.float16, torch.bfloat16) and width <= 256 and width % 8 == 0
    if not fits or torch.version.cuda is None or varlen_kernel() is None:
        return False
    return torch.cuda.get_device_capability(query_BHTD.device) >= (8, 0)


@lru_cache(maxsize=1)
def varlen_kernel() -> Callable[..., Any] | None:
    """Return torch's attention over blocks of many lengths, or None where this torch has none for grouped heads.

    It came in 2.10 without a scale, a window or groups: there, and before, the blocks are attended to one by one.
    """
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return None
    needed = {"scale", "window_size", "enable_gqa"}
    return varlen_attn if needed <= set(inspect.signature(varlen_attn).parameters) else None


def _flash(
    query_BHTD: torch.Tensor, key_BGTD: torch.Tensor, value_BGTD: torch.Tensor, blocks: Blocks, scale: float | None
) -> torch.Tensor:
    """Return [1, T, H, D]: all blocks in one kernel, where a call for each would wait for the processor."""
    kernel = varlen_kernel()
    query, key, value = (x[0].transpose(0, 1) for x in (query_BHTD, key_BGTD, value_BGTD))
    edges, longest = blocks.edges, blocks.longest
    assert edges is not None and kernel is not None
    with torch.autocast("cuda", enabled=False):
        out_THD = kernel(
            query, key, value, edges, edges, longest, longest, scale=scale, window_size=(-1, 0), enable_gqa=True
        )
    assert isinstance(out_THD, torch.Tensor)
    return out_THD[None]


def register() -> str:
    """Make the attention known to transformers and return its name there."""
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(NAME, block_attention)
    # No mask is built: the blocks say it all.
    AttentionMaskInterface.register(NAME, lambda *_args, **_kwargs: None)
    return NAME
