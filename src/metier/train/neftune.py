"""Noise on the embeddings of a packed window, scaled by the length of the row and not of the window.

transformers' own hook takes the whole window for one row: eight rows of 128 tokens in a window would get noise that is
smaller by the square root of eight.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from metier.train.packing import Block


def row_lengths(blocks: Sequence[tuple[int, int, tuple[int, ...]]]) -> torch.Tensor:
    """Return the length of the row that each position belongs to, [T]; a shared prefix counts to the first row."""
    parts = []
    for block in map(Block._make, blocks):
        parts.append(torch.full((block.prefix,), block.prefix + (block.tails[0] if block.tails else 0)))
        parts.extend(torch.full((tail,), block.prefix + tail) for tail in block.tails)
    return torch.cat(parts)


class Noise:
    """Adds uniform noise of ±alpha / sqrt(length × width) to embeddings in training. Jain et al. 2023, "NEFTune".

    Args:
        embeddings: the module whose output gets the noise.
    """

    def __init__(self, embeddings: torch.nn.Module, alpha: float) -> None:
        self.alpha = alpha
        self.lengths_T: torch.Tensor | None = None
        self._hook = embeddings.register_forward_hook(self._add)

    def _add(self, module: torch.nn.Module, _inputs: Any, states_BTE: torch.Tensor) -> torch.Tensor:
        if not module.training or self.lengths_T is None:
            return states_BTE
        scale_T = self.alpha / (self.lengths_T.to(states_BTE.device) * states_BTE.shape[-1]).sqrt()
        noise_BTE = torch.empty_like(states_BTE).uniform_(-1, 1) * scale_T[None, :, None].to(states_BTE.dtype)
        return states_BTE + noise_BTE

    def remove(self) -> None:
        """Take the noise out of the model again."""
        self._hook.remove()
