"""Turn windows into the tensors of one forward pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from metier.train.packing import Window


class Windows(torch.utils.data.Dataset[Window]):
    """Windows in the order in which they are trained on."""

    def __init__(self, windows: Sequence[Window]) -> None:
        self._windows = windows

    def __len__(self) -> int:
        return len(self._windows)

    def __getitem__(self, index: int) -> Window:
        return self._windows[index]


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
