"""Attention for few new tokens, against the fused kernel."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from metier.core.engine.attention import SHORT, rows_attention


@pytest.mark.parametrize("additive", [True, False])
@pytest.mark.parametrize(("new", "seen"), [(1, 9), (5, 9), (7, 7), (SHORT + 1, SHORT + 1)])
def test_rows_attention_is_softmax_of_scores_times_values(new: int, seen: int, additive: bool) -> None:
    torch.manual_seed(new)
    query, key, value = torch.randn(3, 6, new, 8), torch.randn(3, 2, seen, 8), torch.randn(3, 2, seen, 8)
    visible = torch.arange(seen) <= torch.arange(seen - new, seen)[:, None]
    visible = visible.expand(3, 1, new, seen).clone()
    visible[1, ..., : seen // 3] = False
    visible[..., seen // 2] = True  # no row sees nothing
    mask = torch.zeros(visible.shape).masked_fill(~visible, torch.finfo(torch.float32).min) if additive else visible
    module = torch.nn.Module()
    module.num_key_value_groups = 3  # type: ignore[assignment]
    found, _ = rows_attention(module, query, key, value, mask, scaling=0.3)
    keys, values = (states.repeat_interleave(3, dim=1) for states in (key, value))
    expected = scaled_dot_product_attention(query, keys, values, attn_mask=visible, scale=0.3)
    torch.testing.assert_close(found, expected.transpose(1, 2), atol=1e-5, rtol=1e-5)
