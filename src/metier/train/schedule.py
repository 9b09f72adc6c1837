"""The windows of a whole training in their order, in optimizer steps, and what identifies them."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Sequence
from typing import NamedTuple

from metier.train.packing import Group, Window, windows_of, windows_per_batch


class Parts(NamedTuple):
    """Digests that say whether two trainings have the same rows, in the same order, cut into the same passes."""

    rows: str
    order: str
    cut: str


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

    def trained_in(self, steps: int) -> int:
        """Return the tokens that carry loss in so many optimizer steps from the first."""
        return sum(window.trained for window in self.windows[: steps * self.accumulate])

    @property
    def tokens_by_step(self) -> list[int]:
        """Tokens computed up to and with each optimizer step, from 0 before the first."""
        sums = [0]
        for start in range(0, len(self.windows), self.accumulate):
            sums.append(sums[-1] + sum(len(window.ids) for window in self.windows[start : start + self.accumulate]))
        return sums

    @property
    def parts(self) -> Parts:
        """Digests of the rows, of their order, and of how they are cut into windows."""
        rows: list[bytes] = []
        order, cut = hashlib.sha256(), hashlib.sha256()
        for start in range(0, len(self.windows), self.accumulate):
            groups = []
            for window in self.windows[start : start + self.accumulate]:
                of_window = [_row_digests(window, *block) for block in window.blocks]
                cut.update(repr(of_window).encode())
                groups += of_window
            # The windows of an optimizer step are added up, so their order does not matter.
            order.update(repr(sorted(groups)).encode())
            rows += [row for group in groups for row in group]
        return Parts(hashlib.sha256(b"".join(sorted(rows))).hexdigest(), order.hexdigest(), cut.hexdigest())

    @property
    def fingerprint(self) -> str:
        """A digest of every row and of their order: what was made of other rows is not used."""
        return hashlib.sha256("".join(self.parts[:2]).encode()).hexdigest()


def _row_digests(window: Window, start: int, prefix: int, tails: Sequence[int]) -> list[bytes]:
    """Return a digest of ids and targets of each row of a group, the same whether rows share a prefix or not."""
    shared, found, at = slice(start, start + prefix), [], start + prefix
    for tail in tails:
        own = slice(at, at + tail)
        ids, targets = (array("q", [*told[shared], *told[own]]) for told in (window.ids, window.targets))
        found.append(hashlib.sha256(ids.tobytes() + targets.tobytes()).digest())
        at += tail
    return found


def schedule(epochs: Sequence[Sequence[Sequence[Group]]], window_tokens: int, processes: int = 1) -> Schedule:
    """Lay out the optimizer batches of every epoch in windows of about `window_tokens`, enough for all processes."""
    batches = [batch for epoch in epochs for batch in epoch]
    accumulate = windows_per_batch(batches, window_tokens, processes)
    return Schedule([window for batch in batches for window in windows_of(batch, accumulate)], accumulate)
