"""Turn windows into the tensors of one forward pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from metier.train.packing import Window


def window_indexes(windows: Sequence[Window]) -> Any:
    """Return a `datasets.Dataset` of the indexes of windows, in the order in which they are trained on.

    TRL takes no other kind of data set, and windows themselves are read from disk only when they are trained on.
    """
    import datasets

    return datasets.Dataset.from_dict({"index": range(len(windows))})


class WindowCollator:
    """Turn the index of a window into the tensors of one forward pass."""

    def __init__(self, windows: Sequence[Window]) -> None:
        self._windows = windows

    def __call__(self, batch: Sequence[dict[str, int]]) -> dict[str, Any]:
        """Return the inputs of the one window in `batch`, see `collate`."""
        return collate([self._windows[row["index"]] for row in batch])


def collate(batch: Sequence[Window]) -> dict[str, Any]:
    """Return the inputs of one window of T tokens: ids [1, T], positions [1, T], targets [T], rows [T] and blocks.

    There is one window in a batch: several would need padding.
    """
    (window,) = batch
    return {
        "input_ids": torch.tensor([window.ids]),
        "position_ids": torch.tensor([window.positions]),
        "targets": torch.tensor(window.targets),
        "rows": torch.tensor(window.row_of),
        # Plain tuples: named ones do not survive the trainers' moving of inputs to a device.
        "blocks": [tuple(block) for block in window.blocks],
        "names": list(window.names),
    }
