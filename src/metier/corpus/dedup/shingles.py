"""Texts as sets of hashed word 5-grams, the measure in which two texts are near or not."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Shingler:
    """Turn texts into shingles, one at a time. For many, `metier.corpus.kernel.shingle.sets` takes a whole column.

    Args:
        width: tokens a shingle.
    """

    def __init__(self, width: int = 5) -> None:
        self.width = width

    def __call__(self, text: str) -> NDArray[np.uint64]:
        """Return the sorted, distinct 64-bit hashes of the text's shingles.

        A run of letters, marks and digits is a token, and a Chinese or Japanese character one of its own. A text
        shorter than one shingle gives the hash of all its tokens, a text without tokens gives none.
        """
        from metier.corpus.kernel import texts
        from metier.corpus.kernel.shingle import sets

        return sets(texts([text]), width=self.width).of(0)


def jaccard(one: NDArray[np.uint64], other: NDArray[np.uint64]) -> float:
    """Return |A ∩ B| / |A ∪ B| of two sorted sets of shingles; two empty sets are equal, so 1."""
    import numpy as np

    if one.size == 0 and other.size == 0:
        return 1.0
    shared = int(np.intersect1d(one, other, assume_unique=True).size)
    return shared / (one.size + other.size - shared)
