"""Find near duplicates: MinHash bands propose pairs, the exact Jaccard of their shingles decides.

Method: Broder (1997), "On the resemblance and containment of documents"; bands as in Leskovec, Rajaraman and
Ullman, "Mining of Massive Datasets", chapter 3. Digests by rensa.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from metier.corpus.shingles import jaccard

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# 16 bands of 8 rows: a pair of Jaccard 0.9 shares a band with probability 1-(1-.9**8)**16 = 0.9999, one of 0.8
# with 0.947 by the formula (0.998 measured with rensa, whose digests err less). Chosen for recall: verification,
# not the bands, is what makes the answer precise.
BANDS = 16
ROWS = 8
_SEED = 20_231
_ALL_PAIRS_UP_TO = 64


class Pair(NamedTuple):
    """Two documents, by number, and the exact Jaccard similarity of their shingles."""

    one: int
    other: int
    similarity: float


class ShingleStore:
    """The shingles of many documents on disk, read back by number. Memory: 8 bytes a document."""

    def __init__(self, path: Path) -> None:
        from array import array

        self._path = path
        self._ends = array("q", [0])
        self._file = path.open("wb")

    def append(self, shingles: NDArray[np.uint64]) -> None:
        """Add the next document's shingles."""
        shingles.tofile(self._file)
        self._ends.append(self._ends[-1] + shingles.size)

    def finish(self) -> None:
        """Close the file for writing; from now on it can be read."""
        import numpy as np

        self._file.close()
        # numpy maps no empty file.
        empty = self._ends[-1] == 0
        self._map = np.zeros(0, np.uint64) if empty else np.memmap(self._path, dtype=np.uint64, mode="r")

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, number: int) -> NDArray[np.uint64]:
        return self._map[self._ends[number] : self._ends[number + 1]]

    @property
    def total(self) -> int:
        """Shingles of all documents together."""
        return self._ends[-1]


class BandStore:
    """The band keys of many documents on disk, one file a band, so that one band at a time is in memory."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._paths = [folder / f"band-{band:02d}.bin" for band in range(BANDS)]
        self._files = [path.open("wb") for path in self._paths]

    def append(self, shingles: Sequence[NDArray[np.uint64]]) -> None:
        """Add the next documents."""
        for file, keys in zip(self._files, band_keys(shingles).T, strict=True):
            keys.tofile(file)

    def finish(self) -> None:
        """Close the files for writing."""
        for file in self._files:
            file.close()

    def buckets(self) -> Iterator[NDArray[np.int64]]:
        """Yield the numbers of documents that share a key in some band, two or more at a time."""
        import numpy as np

        for path in self._paths:
            keys = np.fromfile(path, dtype=np.uint64)
            order = np.argsort(keys, kind="stable")
            starts = np.flatnonzero(np.diff(keys[order], prepend=keys[order][:1] ^ np.uint64(1)))
            for bucket in np.split(order, starts[1:]) if starts.size else []:
                if bucket.size > 1:
                    yield bucket


def band_keys(shingles: Sequence[NDArray[np.uint64]]) -> NDArray[np.uint64]:
    """Return the band keys of documents, one row of BANDS keys a document."""
    import numpy as np
    import xxhash
    from rensa import RMinHash

    # A document without tokens must not share a band with another such by chance of an empty digest.
    flat = np.concatenate([s if s.size else np.array([at], np.uint64) for at, s in enumerate(shingles)])
    sizes = [max(s.size, 1) for s in shingles]
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.uint64)
    matrix = RMinHash.digest_matrix_from_flat_token_hashes(flat, offsets, num_perm=BANDS * ROWS, seed=_SEED)
    digests = np.array(matrix.to_rows(), dtype=np.uint32)
    keys = [
        [xxhash.xxh3_64_intdigest(row[band * ROWS : (band + 1) * ROWS].tobytes(), seed=band) for band in range(BANDS)]
        for row in digests
    ]
    return np.array(keys, dtype=np.uint64)


def verified_pairs(
    bands: BandStore, shingles: ShingleStore, threshold: float, priority: Sequence[int] | NDArray[np.int64]
) -> Iterator[Pair]:
    """Yield the pairs whose exact Jaccard reaches `threshold`, each once.

    In a bucket of more than 64 documents (pages from one template) comparing all with all would be quadratic:
    there, taken by `priority` (lowest first), each is compared only with those that are no duplicate of an earlier.
    """
    seen: set[tuple[int, int]] = set()
    for bucket in bands.buckets():
        members = sorted((int(number) for number in bucket), key=lambda number: priority[number])
        heads: list[int] = []
        for at, number in enumerate(members):
            rivals = members[:at] if len(members) <= _ALL_PAIRS_UP_TO else heads
            near = False
            for rival in rivals:
                key = (min(rival, number), max(rival, number))
                if key in seen:
                    continue
                seen.add(key)
                similarity = _similarity(shingles[rival], shingles[number], threshold)
                if similarity >= threshold:
                    near = True
                    yield Pair(*key, similarity)
            if not near:
                heads.append(number)


def _similarity(one: NDArray[np.uint64], other: NDArray[np.uint64], threshold: float) -> float:
    # The Jaccard of two sets is at most the ratio of their sizes.
    small, large = sorted((one.size, other.size))
    return jaccard(one, other) if small >= threshold * large else 0.0


def stand_ins(pairs: Sequence[Pair], priority: Sequence[int] | NDArray[np.int64]) -> dict[int, Pair]:
    """Return, for each document to drop, the pair with the kept document that stands in for it.

    By priority, lowest first, a document is kept unless it is near one already kept. So every dropped document is
    itself near the copy that stands in for it (in a chain A~B~C, C is not dropped for A), and no two kept are near.
    """
    near: dict[int, list[Pair]] = {}
    for pair in pairs:
        near.setdefault(pair.one, []).append(pair)
        near.setdefault(pair.other, []).append(pair)
    dropped: dict[int, Pair] = {}
    for number in sorted(near, key=lambda number: priority[number]):
        kept = [
            pair
            for pair in near[number]
            if (rival := pair.one + pair.other - number) not in dropped and priority[rival] < priority[number]
        ]
        if kept:
            dropped[number] = max(kept, key=lambda pair: pair.similarity)
    return dropped
