"""A key/value cache of fixed slots: rows of unlike lengths side by side, written in place, moved at will.

The cache that ships with transformers grows by concatenation, so each step copies all of it, and
its rows must be padded to one length. Here a row starts at column 0 of its slot and keeps its own
length; a finished row gives its slot away.
"""

from __future__ import annotations

import torch
from transformers.cache_utils import Cache


class Slots(Cache):
    """Keys and values of `slots` rows of up to `length` tokens, for every layer of a model.

    Each layer's buffers are [slots, length + 1, key heads, head size], made when the layer first writes. Before
    each forward pass `aim` says which slots and columns the new tokens go to. The last column takes the
    padding that would fall beyond a slot's end; no row ever sees it.
    """

    def __init__(self, slots: int, length: int) -> None:
        super().__init__(layers=[])
        self.slots, self.length = slots, length
        self._keys: dict[int, torch.Tensor] = {}
        self._values: dict[int, torch.Tensor] = {}
        self._flat: torch.Tensor | None = None
        self._read: tuple[slice | torch.Tensor, int] | None = None

    def aim(self, slots: torch.Tensor, columns_NQ: torch.Tensor, fresh: bool) -> None:
        """Point the next forward pass at `slots` [N] and `columns_NQ`.

        `fresh` rows begin at column 0 and see only themselves; other rows read what is before them, without a
        copy where their slots are consecutive.
        """
        self._flat = (slots[:, None] * (self.length + 1) + columns_NQ).reshape(-1)
        if fresh:
            self._read = None
            return
        first, rows = int(slots[0]), len(slots)
        consecutive = bool((slots == torch.arange(first, first + rows, device=slots.device)).all())
        self._read = (slice(first, first + rows) if consecutive else slots, int(columns_NQ.max()) + 1)

    def update(
        self,
        key_states: torch.Tensor,
        value_states: torch.Tensor,
        layer_idx: int,
        *args: object,
        **kwargs: object,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write [N, heads, Q, size] keys and values where `aim` said; return all that these rows may see."""
        keys = self._write(self._keys, key_states, layer_idx)
        values = self._write(self._values, value_states, layer_idx)
        if self._read is None:
            return key_states, value_states
        rows, until = self._read
        return keys[rows, :until].transpose(1, 2), values[rows, :until].transpose(1, 2)

    def _write(self, buffers: dict[int, torch.Tensor], states: torch.Tensor, layer: int) -> torch.Tensor:
        heads, size = states.shape[1], states.shape[3]
        if layer not in buffers:
            # zeros and not empty: a masked column still takes part in 0 x value, and 0 x NaN is NaN
            buffers[layer] = states.new_zeros(self.slots, self.length + 1, heads, size)
        assert self._flat is not None, "aim() comes before every forward pass"
        flat = buffers[layer].view(-1, heads, size)
        flat.index_copy_(0, self._flat, states.transpose(1, 2).reshape(-1, heads, size))
        return buffers[layer]

    def copy(self, source: torch.Tensor, target: torch.Tensor, length: int) -> None:
        """Copy the first `length` columns of the slots `source` [N] into the slots `target` [N]."""
        for buffers in (self._keys, self._values):
            for buffer in buffers.values():
                buffer[target, :length] = buffer[source, :length]

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Return 0: rows have lengths of their own, which the caller keeps and gives as positions."""
        return 0
