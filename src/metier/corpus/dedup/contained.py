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
"""Shingles in memory at once, 28 bytes each while they are sorted: 224 MB."""

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


def _together(samples: Iterable[Samples]) -> tuple[NDArray[np.uint64], NDArray[np.uint32]]:
    import numpy as np

    values, owners = [np.zeros(0, np.uint64)], [np.zeros(0, np.uint32)]
    for some in samples:
        values.append(some.values)
        owners.append(some.owners.astype(np.uint32))
    all_values = np.concatenate(values)
    values.clear()
    return all_values, np.concatenate(owners)


def compilations(samples: Iterable[Samples], share: int, threshold: float) -> dict[int, float]:
    """Return the documents to drop as compilations, with the share of them that others say.

    From the largest to the smallest, a document is dropped if at least `threshold` of its shingles stand in
    another document that is still there: the parts stay and the compilation goes.

    Args:
        samples: of the documents in question, each shingle of a document once: one in `share`, by hash.
    """
    import numpy as np

    from metier.corpus.kernel.shingle import order

    values, owners = _together(samples)
    # A sample is of the smallest hashes: multiplied they fill 64 bits again, as sorting by the upper bits wants them.
    values *= np.uint64(share)
    places = order(values)
    values = values[places]
    owners = owners[places]
    del places
    run = np.cumsum(np.append(False, values[1:] != values[:-1])[: len(values)], dtype=np.int32)
    del values
    said_by = np.bincount(run).astype(np.int32)
    sizes, shared = np.bincount(owners), np.bincount(owners[(said_by > 1)[run]])
    sizes = sizes[: len(shared)]  # of those beyond, nothing is said by others
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
