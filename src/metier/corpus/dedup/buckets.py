"""From keys to candidates: documents that share a key of a band lie in one bucket, and are compared with each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CROWD = 64
"""Documents in one bucket up to which all are compared with all: at most 2,016 pairs, 32 for each document."""


class Candidates(NamedTuple):
    """What one band proposes.

    pairs: ascending, each once, packed: the smaller number in the upper 32 bits, the larger in the lower.
    crowds: the documents of each bucket of more than CROWD, in which comparing all with all would be quadratic.
    """

    pairs: NDArray[np.uint64]
    crowds: list[NDArray[np.int64]]


def candidates(keys: NDArray[np.uint64], numbers: NDArray[np.int64]) -> Candidates:
    """Return what `keys` propose for the documents `numbers` (below 2**32), one key each.

    Keys are compared by their upper 33 bits. Memory: 40 bytes a document, and 24 a pair.
    """
    import numpy as np

    from metier.corpus.kernel.shingle import order

    places = order(keys)
    ordered = keys[places] >> np.uint64(31)
    first = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1])) if len(keys) else np.zeros(0, np.int64)
    sizes = np.diff(np.append(first, len(keys)))
    members = numbers[places]
    crowds = [np.sort(members[first[at] : first[at] + sizes[at]]) for at in np.flatnonzero(sizes > CROWD)]
    small = (sizes > 1) & (sizes <= CROWD)
    return Candidates(_all_pairs(members, first[small], sizes[small]), crowds)


def _all_pairs(members: NDArray[np.int64], first: NDArray[np.int64], sizes: NDArray[np.int64]) -> NDArray[np.uint64]:
    import numpy as np

    from metier.corpus.kernel.shingle import distinct

    found = [np.zeros(0, np.uint64)]
    for step in range(1, int(sizes.max(initial=1))):
        # In every bucket that is long enough, each member with the one `step` places on.
        first, sizes = first[sizes > step], sizes[sizes > step]
        counts = sizes - step
        at = np.repeat(first - np.cumsum(counts) + counts, counts) + np.arange(int(counts.sum()))
        found.append(packed(members[at], members[at + step]))
    return distinct(np.concatenate(found))


def packed(one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Return pairs of document numbers as one word each, whichever comes first."""
    import numpy as np

    low, high = np.minimum(one, other).astype(np.uint64), np.maximum(one, other).astype(np.uint64)
    return low << np.uint64(32) | high


def unpacked(pairs: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the smaller and the larger number of each packed pair."""
    import numpy as np

    return (pairs >> np.uint64(32)).astype(np.int64), (pairs & np.uint64(0xFFFFFFFF)).astype(np.int64)
