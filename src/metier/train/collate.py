"""Turn windows into the tensors of one forward pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from metier.train.packing import NOT_TRAINED, Block, Window

EMPTY = Window([0, 0], [NOT_TRAINED] * 2, [0, 1], [0, 0], [Block(0, 0, (2,))], [])
"""A pass without loss: all processes have to do as many passes, as each puts the weights together from all of them."""


def window_indexes(windows: Sequence[Window], order: Sequence[int | None] | None = None) -> Any:
    """Return a `datasets.Dataset` of the indexes of windows, in the order in which they are trained on.

    TRL takes no other kind of data set, and windows themselves are read from disk only when they are trained on.

    Args:
        order: which window each pass takes, None for an empty one; each once where it is not given.
    """
    import datasets

    return datasets.Dataset.from_dict({"index": range(len(windows)) if order is None else order})


class WindowCollator:
    """Turn the index of a window into the tensors of one forward pass."""

    def __init__(self, windows: Sequence[Window]) -> None:
        self._windows = windows

    def __call__(self, batch: Sequence[dict[str, int | None]]) -> dict[str, Any]:
        """Return the inputs of the one window in `batch`, see `collate`."""
        return collate([EMPTY if (index := row["index"]) is None else self._windows[index] for row in batch])


def collate(batch: Sequence[Window]) -> dict[str, Any]:
    """Return the inputs of one window of T tokens: ids [1, T], positions [1, T], targets [T], rows [T] and blocks.

    There is one window in a batch: several would need padding.
    """
    (window,) = batch
    return {
        "input_ids": torch.tensor(window.ids, dtype=torch.long)[None],
        "position_ids": torch.tensor(window.positions, dtype=torch.long)[None],
        "targets": torch.tensor(window.targets, dtype=torch.long),
        "rows": torch.tensor(window.row_of, dtype=torch.long),
        # Plain tuples: named ones do not survive the trainers' moving of inputs to a device.
        "blocks": [tuple(block) for block in window.blocks],
        "names": list(window.names),
    }
