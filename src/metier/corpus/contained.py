"""Find compilations: documents whose text is, nearly all of it, said by other documents of the corpus.

A manual "in one page", a list of quotations from the other pages, last year's yearbook: their Jaccard
similarity with each single document is low, so near-duplicate search passes them by, yet they would carry
held-out text into training.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MOST_SAMPLED = 8_000_000
"""Shingles in memory at once, 50 bytes each while they are sorted."""

_MIN_SAMPLE = 16  # fewer shingles say too little about a share


class Samples(NamedTuple):
    """Shingles of some documents, those of one document together: `values`, and of which document each is."""

    values: NDArray[np.uint64]
    owners: NDArray[np.int64]


def sampled_share(total: int) -> int:
    """Return n where one in n shingles is sampled (FracMinHash, Irber et al. 2022), for so many in the whole corpus.

    All up to eight million, 50 MB of text. Of a corpus of 65 GB one in a thousand: there a document must be of 16,000
    shingles to be recognised.
    """
    return max(1, -(-total // MOST_SAMPLED))


def compilations(samples: Iterable[Samples], share: int, threshold: float) -> dict[int, float]:
    """Return the documents to drop as compilations, with the share of them that others say.

    From the largest to the smallest, a document is dropped if at least `threshold` of its shingles stand in
    another document that is still there: the parts stay and the compilation goes.

    Args:
        samples: of the documents in question, each shingle of a document once: one in `share`, by hash.
    """
    import numpy as np

    from metier.corpus.kernel.shingle import order

    parts = list(samples)
    values = np.concatenate([np.zeros(0, np.uint64), *(part.values for part in parts)])
    owners = np.concatenate([np.zeros(0, np.uint32), *(part.owners.astype(np.uint32) for part in parts)])
    parts.clear()
    # A sample is of the smallest hashes: multiplied they fill 64 bits again, as sorting by the upper bits wants them.
    places = order(values * np.uint64(share))
    values, owners = values[places], owners[places]
    del places
    run = np.cumsum(np.append(False, values[1:] != values[:-1])) if len(values) else np.zeros(0, np.int64)
    del values
    said_by = np.bincount(run)
    sizes, shared = np.bincount(owners), np.bincount(owners, said_by[run] > 1)
    # With documents dropped shares only fall, so no others need be looked at.
    suspects = np.flatnonzero((sizes >= _MIN_SAMPLE) & (shared >= threshold * sizes))
    suspects = suspects[np.argsort(-sizes[suspects], kind="stable")]
    of_suspect = np.isin(owners, suspects)
    runs, owners = run[of_suspect], owners[of_suspect]
    by_owner = np.argsort(owners, kind="stable")
    runs, owners = runs[by_owner], owners[by_owner]
    ends = np.searchsorted(owners, suspects, side="right")
    begins = np.searchsorted(owners, suspects)
    dropped: dict[int, float] = {}
    for number, first, last in zip(suspects.tolist(), begins.tolist(), ends.tolist(), strict=True):
        mine = runs[first:last]
        said = float(np.mean(said_by[mine] > 1))
        if said >= threshold:
            dropped[number] = said
            said_by[mine] -= 1
    return dropped
