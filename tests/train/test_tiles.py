"""Attention in tiles is attention: the same values and gradients as torch's, block by block."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from metier.train.attention import Blocks, block_attention, prepared, tails_mask
from metier.train.tiles import ROWS, tiled_attention

# Blocks of one row below, at and above a tile, then one of a prefix and two tails, the first longer than a tile.
LENGTHS = (1, ROWS - 1, ROWS, 2 * ROWS + 3)
PREFIX, TAILS = 20, (ROWS + 5, 7)


def window() -> list[tuple[int, int, tuple[int, ...]]]:
    starts = [0, *itertools.accumulate(LENGTHS)]
    return [(start, 0, (length,)) for start, length in zip(starts, LENGTHS, strict=False)] + [
        (starts[-1], PREFIX, TAILS)
    ]


def heads(count: int, dtype: torch.dtype) -> torch.Tensor:
    tokens = sum(LENGTHS) + PREFIX + sum(TAILS)
    # As the models give them: [B, T, H, D] seen the other way round.
    return torch.randn(1, tokens, count, 16).to(dtype).transpose(1, 2).requires_grad_()


def attended(given: Sequence[torch.Tensor], blocks: Blocks, dropout: float = 0.0) -> torch.Tensor:
    query, key, value = given
    return block_attention(torch.nn.Module(), query, key, value, None, dropout=dropout, blocks=blocks)[0]


def by_torch(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float) -> torch.Tensor:
    repeats = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(repeats, 1), value.repeat_interleave(repeats, 1)
    found = []
    for start, prefix, tails in window():
        at = slice(start, start + prefix + sum(tails))
        mask = tails_mask(prefix, tails, torch.device("cpu"))
        found.append(
            scaled_dot_product_attention(query[:, :, at], key[:, :, at], value[:, :, at], attn_mask=mask, scale=scale)
        )
    return torch.cat(found, 2).transpose(1, 2)


@pytest.mark.parametrize(("groups", "scale"), [(2, 0.25), (6, 0.1)], ids=["shared keys", "a key for each head"])
def test_tiles_give_the_values_and_gradients_of_torch(groups: int, scale: float) -> None:
    torch.manual_seed(0)
    given = heads(6, torch.float32), heads(groups, torch.float32), heads(groups, torch.float32)
    blocks = prepared(window(), torch.device("cpu"))
    want, got = by_torch(*given, scale), tiled_attention(*given, blocks.parts, scale)
    torch.testing.assert_close(got, want, atol=1e-6, rtol=1e-5)
    slope = torch.randn_like(want)
    want_grads, got_grads = (torch.autograd.grad((out * slope).sum(), given) for out in (want, got))
    torch.testing.assert_close(got_grads, want_grads, atol=1e-5, rtol=1e-4)


def test_under_autocast_tiles_are_as_near_to_float32_as_torch_in_bf16() -> None:
    torch.manual_seed(0)
    given = heads(6, torch.float32), heads(2, torch.float32), heads(2, torch.float32)
    exact, blocks = by_torch(*given, 0.25), prepared(window(), torch.device("cpu"))
    with torch.autocast("cpu", torch.bfloat16):
        by_tiles = tiled_attention(*given, blocks.parts, 0.25)
    query, key, value = (x.bfloat16() for x in given)
    rounded = by_torch(query, key, value, 0.25)
    assert by_tiles.dtype == torch.bfloat16
    assert (by_tiles.float() - exact).norm() < 1.5 * (rounded.float() - exact).norm()


def test_dropout_is_left_to_torch() -> None:
    torch.manual_seed(0)
    given = heads(4, torch.float32), heads(2, torch.float32), heads(2, torch.float32)
    blocks = prepared(window(), torch.device("cpu"))
    plain, dropped = attended(given, blocks), attended(given, blocks, dropout=0.5)
    assert plain.shape == dropped.shape
    assert not torch.allclose(plain, dropped, atol=1e-3)


@pytest.mark.gpu
@pytest.mark.parametrize("tails", [False, True], ids=["one kernel for all blocks", "blocks with a shared prefix"])
def test_on_a_gpu_blocks_attend_as_on_the_processor(tails: bool) -> None:
    torch.manual_seed(0)
    blocks = window() if tails else window()[:-1]
    tokens = blocks[-1][0] + blocks[-1][1] + sum(blocks[-1][2])
    given = [torch.randn(1, tokens, count, 64).transpose(1, 2).requires_grad_() for count in (8, 2, 2)]
    there = [x.detach().cuda().requires_grad_() for x in given]
    want = attended(given, prepared(blocks, torch.device("cpu")))
    with torch.autocast("cuda", torch.bfloat16):
        got = attended(there, prepared(blocks, torch.device("cuda")))
    assert (got.float().cpu() - want).norm() < 1e-2 * want.norm()
    slope = torch.randn_like(want)
    want_grads = torch.autograd.grad((want * slope).sum(), given)
    got_grads = torch.autograd.grad((got.float() * slope.cuda()).sum(), there)
    for got_one, want_one in zip(got_grads, want_grads, strict=True):
        assert (got_one.float().cpu() - want_one).norm() < 2e-2 * want_one.norm()
