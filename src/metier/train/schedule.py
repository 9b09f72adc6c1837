"""The windows of a whole training in their order, in optimizer steps, and what identifies them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

from metier.train.packing import Group, Window, windows_of, windows_per_batch


class Schedule(NamedTuple):
    """All windows of a training, and how many make an optimizer step.

    windows: in order, over all epochs. accumulate: windows per optimizer step; only the last step may have fewer.
    """

    windows: Sequence[Window]
    accumulate: int

    @property
    def steps(self) -> int:
        """Optimizer steps."""
        return -(-len(self.windows) // self.accumulate)

    @property
    def tokens(self) -> int:
        """Tokens the model computes, shared prefixes once."""
        return sum(len(window.ids) for window in self.windows)

    @property
    def trained(self) -> int:
        """Tokens that carry loss."""
        return sum(window.trained for window in self.windows)

    @property
    def tokens_by_step(self) -> list[int]:
        """Tokens computed up to and with each optimizer step, from 0 before the first."""
        sums = [0]
        for start in range(0, len(self.windows), self.accumulate):
            sums.append(sums[-1] + sum(len(window.ids) for window in self.windows[start : start + self.accumulate]))
        return sums

    @property
    def fingerprint(self) -> str:
        """A digest of every id, target and cut: a checkpoint of other rows, or cut otherwise, is not resumed."""
        digest = hashlib.sha256(str(self.accumulate).encode())
        for window in self.windows:
            digest.update(repr((window.ids, window.targets, window.blocks)).encode())
        return digest.hexdigest()


def schedule(epochs: Sequence[Sequence[Sequence[Group]]], window_tokens: int) -> Schedule:
    """Lay out the optimizer batches of every epoch in windows of about `window_tokens`."""
    batches = [batch for epoch in epochs for batch in epoch]
    accumulate = windows_per_batch(batches, window_tokens)
    return Schedule([window for batch in batches for window in windows_of(batch, accumulate)], accumulate)
