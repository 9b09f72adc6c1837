"""Texts as sets of hashed word 5-grams, the measure in which two texts are near or not."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# A run of letters and digits is a token; Chinese and Japanese write no spaces, so each character is one.
_TOKEN = re.compile(
    r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]|[^\W_\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]+"
)
_MIX = 0x9E3779B97F4A7C15  # the golden ratio in 64 bits: an odd constant with no pattern
_CACHED_TOKENS = 500_000


class Shingler:
    """Turn texts into shingles. It remembers the hashes of tokens, which repeat in every language.

    Args:
        width: tokens a shingle.
    """

    def __init__(self, width: int = 5) -> None:
        self.width = width
        self._hashes: dict[str, int] = {}

    def __call__(self, text: str) -> NDArray[np.uint64]:
        """Return the sorted, distinct 64-bit hashes of the text's shingles.

        A text shorter than one shingle gives the hash of all its tokens, a text without tokens gives none.
        """
        import numpy as np

        tokens = self._token_hashes(_TOKEN.findall(text.lower()))
        if tokens.size == 0:
            return tokens
        width = min(self.width, tokens.size)
        count = tokens.size - width + 1
        mixed = np.zeros(count, dtype=np.uint64)
        mix = np.uint64(_MIX)
        for offset in range(width):
            # Multiply and rotate between tokens, so that their order counts.
            mixed = (mixed ^ tokens[offset : offset + count]) * mix
            mixed ^= mixed >> np.uint64(29)
        return np.unique(mixed)

    def _token_hashes(self, tokens: Sequence[str]) -> NDArray[np.uint64]:
        import numpy as np
        import xxhash

        known, digest = self._hashes, xxhash.xxh3_64_intdigest
        if len(known) > _CACHED_TOKENS:
            known.clear()
        for token in set(tokens):
            if token not in known:
                known[token] = digest(token.encode())
        return np.fromiter((known[token] for token in tokens), dtype=np.uint64, count=len(tokens))


def jaccard(one: NDArray[np.uint64], other: NDArray[np.uint64]) -> float:
    """Return |A ∩ B| / |A ∪ B| of two sorted sets of shingles; two empty sets are equal, so 1."""
    import numpy as np

    if one.size == 0 and other.size == 0:
        return 1.0
    shared = int(np.intersect1d(one, other, assume_unique=True).size)
    return shared / (one.size + other.size - shared)
