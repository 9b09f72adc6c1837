"""SimHash: documents whose 64-bit hashes differ in few bits, found by tables as Manku, Jain and Das Sarma (2007) do.

The bits are cut into blocks. If two hashes differ in at most k bits, some choice of (blocks - k) blocks is equal in
both: there is a table for every choice, keyed by the bits of its blocks.
"""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BITS = 64
_MIX = 0x9E3779B97F4A7C15
_OCCUPANCY = 8  # documents that share a key by chance, up to which more blocks cost more than they spare
_MOST_BLOCKS = 16


def tables(documents: int, most_different: int) -> list[int]:
    """Return the bits that key each table, as masks, for a corpus of so many documents.

    More blocks give longer keys and more tables. At 3 bits 4 tables up to 500,000 documents and 10 up to 134 million;
    at 6 bits 28 and 84 (up to 17 million); at 10 bits 1,001 and 3,003 (up to 8 million), which is hours of work.
    """
    blocks = most_different + 1
    while blocks < _MOST_BLOCKS and documents > _OCCUPANCY << _shortest_key(blocks, most_different):
        blocks += 1
    masks = [((1 << (at + 1) * BITS // blocks) - 1) & ~((1 << at * BITS // blocks) - 1) for at in range(blocks)]
    return [sum(chosen) for chosen in combinations(masks, blocks - most_different)]


def _shortest_key(blocks: int, most_different: int) -> int:
    return (blocks - most_different) * (BITS // blocks)


def table_keys(hashes: NDArray[np.uint64], table: int) -> NDArray[np.uint64]:
    """Return the key of each hash in a table, spread over 64 bits."""
    import numpy as np

    keys = (hashes & np.uint64(table)) * np.uint64(_MIX)
    keys ^= keys >> np.uint64(32)
    return keys * np.uint64(_MIX)


def different(one: NDArray[np.uint64], other: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Return in how many bits hashes differ."""
    import numpy as np

    return np.asarray(np.bitwise_count(one ^ other), np.int64)
