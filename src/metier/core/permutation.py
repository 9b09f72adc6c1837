"""A random order of n things that takes no memory: who stands at place i is worked out, not looked up."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    N = TypeVar("N", int, NDArray[np.int64])

_ROUNDS = 6
_BITS_MIXED = 31  # the product below must fit 63 bits, in Python's integers as in numpy's
_ODD = 0x9E3779B1  # the first prime of xxHash


class Permutation:
    """A permutation of 0..count-1, drawn by `seed`.

    A Feistel network over the next power of four, walked until it lands below `count` (at most four steps on average):
    Black and Rogaway 2002, "Ciphers with Arbitrary Finite Domains". The order does not depend on the version of any
    library. It shuffles; it hides nothing.
    """

    def __init__(self, count: int, seed: int | str) -> None:
        self._count = count
        self._bits = max(1, (max(count - 1, 1).bit_length() + 1) // 2)
        self._low = (1 << self._bits) - 1
        digest = hashlib.sha256(f"permutation/{seed}".encode()).digest()
        self._keys = [int.from_bytes(digest[4 * at : 4 * at + 4], "big") >> 1 for at in range(_ROUNDS)]

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, place: int) -> int:
        """Return who stands at `place`. Raises IndexError beyond the last."""
        if not 0 <= place < self._count:
            raise IndexError(place)
        found = self._once(place)
        while found >= self._count:
            found = self._once(found)
        return found

    def __iter__(self) -> Iterator[int]:
        return (self[place] for place in range(self._count))

    def whole(self) -> NDArray[np.int64]:
        """Return the order as an array: 8 bytes of memory each."""
        import numpy as np

        found = self._once(np.arange(self._count, dtype=np.int64))
        while (beyond := np.flatnonzero(found >= self._count)).size:
            found[beyond] = self._once(found[beyond])
        return found

    def _once(self, value: N) -> N:
        left, right = value >> self._bits, value & self._low
        for key in self._keys:
            mixed = ((right ^ key) & ((1 << _BITS_MIXED) - 1)) * _ODD
            left, right = right, left ^ ((mixed >> 17) & self._low)
        return left << self._bits | right
