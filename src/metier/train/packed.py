"""Training on packed shards: windows are read when they are trained on, and never held."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import Any, NamedTuple, overload

import numpy as np
import torch
from numpy.typing import NDArray

from metier.core.permutation import Permutation
from metier.core.tokens import Attention, PackedWindow, Tokens
from metier.train.distributed import added_up
from metier.train.packing import NOT_TRAINED, Block, Window
from metier.train.schedule import Parts, Schedule
from metier.train.trainer import PackedTrainer

_NO_CHANNEL = "-"


class Course(NamedTuple):
    """Which windows of packed shards a training reads, in which order and in which optimizer steps.

    windows: read over all epochs. per_step: windows of an optimizer step; the last may have fewer. per_pass: windows of
    a forward pass at most.
    """

    windows: int
    per_step: int
    per_pass: int
    epochs: int
    seed: int

    @property
    def steps(self) -> int:
        """Optimizer steps."""
        return -(-self.windows // self.per_step)

    @property
    def accumulate(self) -> int:
        """Forward passes of a full step."""
        return -(-self.per_step // self.per_pass)


class PackedWindows(Sequence[Window]):
    """The forward passes of a training on packed shards, each read from its file when it is asked for.

    A pass takes one or more whole windows of the shards; their documents do not see each other unless they were packed
    to. Memory: 8 bytes a window of the shards, and 24 a window that is read.
    """

    def __init__(self, tokens: Tokens, course: Course) -> None:
        self.artifact, self.course = tokens, course
        orders = [
            np.arange(len(tokens))
            if tokens.layout.ordered
            else Permutation(len(tokens), f"{course.seed}/{epoch}").whole()
            for epoch in range(course.epochs)
        ]
        self._rows = np.concatenate(orders)[: course.windows]
        sizes, pieces = tokens.sizes()
        carrying = sizes - (pieces if tokens.layout.attention == "document" else 1)
        self._tokens_before = np.concatenate([[0], np.cumsum(sizes[self._rows], dtype=np.int64)])
        self._trained_before = np.concatenate([[0], np.cumsum(carrying[self._rows], dtype=np.int64)])
        self._edges = edges_of(course)

    def __len__(self) -> int:
        return self._edges.size - 1

    @overload
    def __getitem__(self, index: int) -> Window: ...
    @overload
    def __getitem__(self, index: slice) -> list[Window]: ...
    def __getitem__(self, index: int | slice) -> Window | list[Window]:
        if isinstance(index, slice):
            return [self[at] for at in range(*index.indices(len(self)))]
        return packed_window([self.artifact.window(row) for row in self.rows(index)], self.artifact.layout.attention)

    def rows(self, index: int) -> list[int]:
        """Return the rows of the shards that a forward pass reads. Raises IndexError beyond the last."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        return [int(row) for row in self._rows[self._edges[index] : self._edges[index + 1]]]

    def first_beyond(self, size: int) -> int | None:
        """Return the first forward pass that holds an id of at least `size`, None if there is none."""
        beyond = np.flatnonzero(self.artifact.largest_ids(self._rows) >= size)
        return int(np.searchsorted(self._edges, beyond[0], side="right")) - 1 if beyond.size else None

    @property
    def tokens(self) -> NDArray[np.int64]:
        """Tokens of each forward pass."""
        tokens: NDArray[np.int64] = np.diff(self._tokens_before[self._edges])
        return tokens

    def trained_in(self, passes: int) -> int:
        """Return the positions of so many passes from the first that carry loss.

        The first of each document, or of each window, is predicted from nothing.
        """
        return int(self._trained_before[self._edges[min(passes, len(self))]])

    @property
    def longest(self) -> int:
        """The index of the pass that needs most memory: nearly every position carries loss."""
        return int(self.tokens.argmax())


class PackedSchedule(Schedule):
    """A `Schedule` whose windows are on disk."""

    @property
    def _windows(self) -> PackedWindows:
        assert isinstance(self.windows, PackedWindows)
        return self.windows

    @property
    def reads(self) -> int:
        """Windows of the shards that are read, over all passes."""
        return self._windows.course.windows

    @property
    def tokens(self) -> int:
        """Tokens the model computes."""
        return int(self._windows.tokens.sum())

    @property
    def trained(self) -> int:
        """Tokens that carry loss."""
        return self.trained_in(self.steps)

    def trained_in(self, steps: int) -> int:
        """Return the tokens that carry loss in so many optimizer steps from the first."""
        return self._windows.trained_in(steps * self.accumulate)

    @property
    def tokens_by_step(self) -> list[int]:
        """Tokens computed up to and with each optimizer step, from 0 before the first."""
        sums = np.cumsum(self._windows.tokens)
        ends = np.minimum(np.arange(1, self.steps + 1) * self.accumulate, sums.size) - 1
        return [0, *sums[ends].tolist()]

    @property
    def parts(self) -> Parts:
        """Digests of the shards, of what is read of them in which order, and of how that is cut into passes."""
        windows, per_step, per_pass, epochs, seed = self._windows.course
        told = (windows, per_step, epochs, seed), per_pass
        order, cut = (hashlib.sha256(repr(part).encode()).hexdigest() for part in told)
        return Parts(self._windows.artifact.record.output_sha256, order, cut)


def edges_of(course: Course) -> NDArray[np.int64]:
    """Return where each forward pass begins among the windows that are read, and where the last ends."""
    full, rest = divmod(course.windows, course.per_step)
    starts_S1 = np.arange(full)[:, None] * course.per_step
    parts_1P = np.arange(course.accumulate) * course.per_step // course.accumulate
    passes = -(-rest // course.per_pass)
    last_P = full * course.per_step + np.arange(passes) * rest // max(passes, 1)
    return np.concatenate([(starts_S1 + parts_1P).reshape(-1), last_P, [course.windows]])


def even_step(windows: int, wished: float) -> int:
    """Return how many windows an optimizer step takes: within a third of what is wished, and so that the last is full.

    A last step of few windows would move the weights by a poor estimate of the gradient.
    """
    low, high = max(1, math.ceil(wished * 3 / 4)), max(1, math.floor(wished * 4 / 3))
    choices = range(min(low, windows), min(max(low, high), windows) + 1)
    # The part of a last step that is missing; of equal ones the size that is nearest to the wish.
    return min(choices, key=lambda size: (-windows % size / size, abs(size - wished)))


def packed_schedule(
    tokens: Tokens, budget: int | None, epochs: int, batch_tokens: int, window_tokens: int, seed: int
) -> PackedSchedule:
    """Plan a training on packed shards.

    Args:
        budget: most tokens to read; None reads all of them `epochs` times. One window is read at least.
        batch_tokens: tokens of an optimizer step, as near as whole windows allow.
        window_tokens: tokens of a forward pass at most, unless a single window is longer.
        seed: of the order of the windows, another in each pass, unless they were packed in an order that is meant.
    """
    total, count = tokens.tokens * epochs, len(tokens) * epochs
    reads = count if budget is None else max(1, min(count, count * budget // total))
    per_step = even_step(reads, batch_tokens * count / total)
    per_pass = max(1, window_tokens // tokens.layout.sequence_length)
    course = Course(reads, per_step, min(per_pass, per_step), epochs, seed)
    return PackedSchedule(PackedWindows(tokens, course), course.accumulate)


def packed_window(rows: Sequence[PackedWindow], attention: Attention) -> Window:
    """Lay windows of the shards one after the other, as `metier.train.packing.window_of` lays rows.

    Each piece of a document is a row named `channel/document`; with the attention "window" a whole window is one block.
    """
    ids = np.concatenate([row.ids for row in rows]).astype(np.int64)
    lengths = [length for row in rows for length in row.lengths]
    blocks = lengths if attention == "document" else [row.ids.size for row in rows]
    ends = np.cumsum(blocks)
    targets = np.append(ids[1:], NOT_TRAINED)
    targets[ends - 1] = NOT_TRAINED
    starts = ends - blocks
    return Window(
        ids.tolist(),
        targets.tolist(),
        (np.arange(ids.size) - np.repeat(starts, blocks)).tolist(),
        np.repeat(np.arange(len(lengths)), lengths).tolist(),
        [Block(start, 0, (length,)) for start, length in zip(starts.tolist(), blocks, strict=True)],
        [
            f"{channel or _NO_CHANNEL}/{document}"
            for row in rows
            for channel, document in zip(row.channels, row.documents, strict=True)
        ],
    )


class ChannelTrainer(PackedTrainer):
    """A trainer that also tells the loss of each channel, where rows are named `channel/document`."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._sums: dict[str, list[float]] = {}

    def log_probabilities(self, model: Any, inputs: dict[str, Any]) -> torch.Tensor:
        """Return the log-probabilities of the window's trained tokens, [N], and keep their sums by channel."""
        log_p_N = super().log_probabilities(model, inputs)
        if self.recording:
            row_N = inputs["rows"][inputs["targets"] >= 0]
            shape = log_p_N.new_zeros(len(inputs["names"]), dtype=torch.float32)
            nats_R = -shape.index_add(0, row_N, log_p_N.detach().float())
            counts_R = torch.bincount(row_N, minlength=len(inputs["names"]))
            for name, nats, count in zip(inputs["names"], nats_R.tolist(), counts_R.tolist(), strict=True):
                sums = self._sums.setdefault(name.partition("/")[0], [0.0, 0])
                sums[0] += nats
                sums[1] += count
        return log_p_N

    def step_figures(self) -> dict[str, float]:
        """Return the mean loss of the last step's tokens of each channel, in nats."""
        sums = added_up(self._sums)
        self._sums.clear()
        found = {f"loss_{name}": nats / count for name, (nats, count) in sorted(sums.items()) if count}
        return {} if set(found) == {f"loss_{_NO_CHANNEL}"} else found
