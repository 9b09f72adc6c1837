"""Find compilations: documents whose text is, nearly all of it, said by other documents of the corpus.

A manual "in one page", a list of quotations from the other pages, last year's yearbook: their Jaccard
similarity with each single document is low, so near-duplicate search passes them by, yet they would carry
held-out text into training.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_MAX_SAMPLED = 40_000_000  # 8 bytes each, sorted once: under a gigabyte whatever the size of the corpus
_MIN_SAMPLE = 16  # fewer shingles say too little about a share


class Sets(Protocol):
    """Sorted shingles by document number."""

    @property
    def total(self) -> int:
        """Shingles of all documents."""
        ...

    def __getitem__(self, number: int) -> NDArray[np.uint64]: ...


def compilations(sets: Sets, numbers: Iterable[int], threshold: float) -> dict[int, float]:
    """Return the documents of `numbers` to drop as compilations, with the share of them that others say.

    From the largest to the smallest, a document is dropped if at least `threshold` of its shingles stand in
    another document that is still there: the parts stay and the compilation goes. Every shingle counts up to
    40 million in the corpus; beyond that a fixed sample of them by hash (FracMinHash, Irber et al. 2022) does.
    """
    import numpy as np

    scale = max(1, -(-sets.total // _MAX_SAMPLED))
    limit = np.uint64((2**64 - 1) // scale)
    order = sorted(numbers, key=lambda number: (-sets[number].size, number))
    samples = [_sample(sets[number], limit) for number in order]
    index, counts = np.unique(np.concatenate(samples), return_counts=True) if samples else (np.zeros(0), np.zeros(0))
    dropped: dict[int, float] = {}
    for number, sample in zip(order, samples, strict=True):
        if sample.size < _MIN_SAMPLE:
            continue
        places = np.searchsorted(index, sample)
        share = float(np.mean(counts[places] > 1))
        if share >= threshold:
            dropped[number] = share
            counts[places] -= 1
    return dropped


def _sample(shingles: NDArray[np.uint64], limit: np.uint64) -> NDArray[np.uint64]:
    import numpy as np

    return np.array(shingles[: np.searchsorted(shingles, limit, side="right")])
