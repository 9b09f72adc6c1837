"""Near duplicates: MinHash bands propose pairs, the exact Jaccard of their shingles decides, one copy stands in.

Method: Broder (1997), "On the resemblance and containment of documents"; bands as in Leskovec, Rajaraman and Ullman,
"Mining of Massive Datasets", chapter 3. Here are the parts, on arrays, and `near_duplicates`, which puts them together
for texts in memory; `dedup.py` puts them together for a corpus on disk.
"""

from __future__ import annotations

import math
from array import array
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from metier.corpus.kernel import Texts
    from metier.corpus.kernel.shingle import Bands, Sets

Compare = Callable[["NDArray[np.int64]", "NDArray[np.int64]"], "NDArray[np.float64]"]

BINS = 128
_LEAST_RECALL = 0.998
_HASHES_AT_A_TIME = 2_000_000  # 16 MB of shingles in memory while pairs are verified
_HEADS = 64  # of a crowd, those that came last: in order of length they are most like the next
_COMPARED = 12  # of all kept documents that one meets in its crowds, those whose sketches are most like its own
_TURNS = _COMPARED  # documents in crowds that are compared at once: so each is compared with all of the others


class Near(NamedTuple):
    """Pairs of documents by number, `one` below `other`, and the exact Jaccard similarity of their shingles."""

    one: NDArray[np.int64]
    other: NDArray[np.int64]
    similarity: NDArray[np.float64]


class StandIns(NamedTuple):
    """Documents to drop, ascending; the kept document that stands in for each; and how similar the two are."""

    numbers: NDArray[np.int64]
    kept: NDArray[np.int64]
    similarity: NDArray[np.float64]


class Shingled(Protocol):
    """Where the sets of shingles of documents come from, by their numbers: worked out from the text, or read back."""

    def most(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return how many shingles each document has at most."""
        ...

    def read(self, numbers: NDArray[np.int64], room: NDArray[np.uint64]) -> Sets:
        """Return the sets of documents, in `room`, which has as many words as they have shingles at most."""
        ...


def bands_for(threshold: float) -> Bands:
    """Return the bands that a pair of just this Jaccard similarity shares one of with a probability of 0.998.

    At most 128 bins: as many rows to a band as that leaves, for every row spares pairs that are not near.
    1 - (1 - J**rows)**bands: at 0.9, 14 bands of 9 rows (0.9989); at 0.8, 21 of 6 (0.9983). Pairs above it fare better.
    """
    from metier.corpus.kernel.shingle import Bands

    rows = next(rows for rows in range(BINS, 0, -1) if 1 - (1 - threshold**rows) ** (BINS // rows) >= _LEAST_RECALL)
    return Bands(BINS // rows, rows)


def plausible(
    sketches: NDArray[np.uint8], one: NDArray[np.int64], other: NDArray[np.int64], threshold: float
) -> NDArray[np.bool_]:
    """Return which pairs of rows of `sketches` may reach the threshold, so that an exact comparison is worth its cost.

    Of those that just reach it 1 in 700 is lost, of those a little above hardly any: the bins in which two agree may be
    three standard deviations fewer than expected of the threshold.
    """
    from metier.corpus.kernel.shingle import alike

    return alike(sketches, one, other) >= _least_alike(sketches.shape[1], threshold)


def _least_alike(bins: int, threshold: float) -> float:
    return bins * threshold - 3 * math.sqrt(bins * threshold * (1 - threshold))


def verified(
    pairs: NDArray[np.uint64], shingled: Shingled, threshold: float, room: NDArray[np.uint64] | None = None
) -> Near:
    """Return those of the packed pairs whose exact Jaccard similarity reaches `threshold`, in ascending order.

    Args:
        room: memory for shingles, if there is some already.
    """
    import numpy as np

    from metier.corpus.dedup.buckets import packed, unpacked

    found = [(np.zeros(0, np.uint64), np.zeros(0))]
    room = np.empty(0, np.uint64) if room is None else room
    for one, other in _batches(*unpacked(pairs), shingled):
        numbers = np.sort(np.concatenate([one, other]))
        numbers = numbers[np.append(True, numbers[1:] != numbers[:-1])]
        most = int(shingled.most(numbers).sum())
        room = room if most <= len(room) else np.empty(most, np.uint64)
        sets = shingled.read(numbers, room)
        similarity = jaccards(sets, np.searchsorted(numbers, one), np.searchsorted(numbers, other), threshold)
        near = similarity > 0
        found.append((packed(one[near], other[near]), similarity[near]))
    words, similarity = (np.concatenate(column) for column in zip(*found, strict=True))
    order = np.argsort(words)
    return Near(*unpacked(words[order]), similarity[order])


def jaccards(sets: Sets, one: NDArray[np.int64], other: NDArray[np.int64], threshold: float) -> NDArray[np.float64]:
    """Return the Jaccard similarity of pairs of sets, 0 where it is below `threshold` (which is above 0)."""
    import numpy as np

    from metier.corpus.kernel.shingle import shared

    sizes = sets.ends[one] - sets.starts[one] + sets.ends[other] - sets.starts[other]
    # J = shared / (sizes - shared), so shared = sizes * J / (1 + J); less a little, for the division decides.
    least = np.ceil(sizes * (threshold / (1 + threshold)) - 1e-6).astype(np.int64)
    counts = shared(sets, one, other, least)
    similarity = counts / np.maximum(sizes - counts, 1)
    return np.where(similarity >= threshold, similarity, 0.0)


def _batches(
    one: NDArray[np.int64], other: NDArray[np.int64], shingled: Shingled
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield the pairs in batches of bounded size, those that hang together in one, so that few sets are read twice."""
    import numpy as np

    from metier.corpus.dedup.buckets import packed, unpacked
    from metier.corpus.kernel.shingle import distinct

    if not len(one):
        return
    root = np.arange(int(other.max()) + 1)
    root[other[::-1]] = one[::-1]  # the least of each, for pairs ascend
    for _ in range(3):
        root = root[root]
    order = np.argsort(root[one], kind="stable")
    one, other = one[order], other[order]
    group = np.cumsum(np.append(False, root[one[1:]] != root[one[:-1]]))
    # A group weighs, at its first pair, what its documents weigh; one that is too large is cut, and its pairs weigh.
    of_group, member = unpacked(
        distinct(np.concatenate([packed(group, one + len(one)), packed(group, other + len(one))]))
    )
    sizes = np.bincount(of_group, shingled.most(member - len(one)))
    first = np.append(True, group[1:] != group[:-1])
    weight = np.where(first, sizes[group], 0)
    large = sizes[group] > _HASHES_AT_A_TIME
    weight[large] = shingled.most(one[large]) + shingled.most(other[large])
    cuts = np.flatnonzero(np.diff(np.cumsum(weight) // _HASHES_AT_A_TIME)) + 1
    yield from zip(np.split(one, cuts), np.split(other, cuts), strict=True)


def stand_ins(near: Near, crowds: Sequence[NDArray[np.int64]], rank: NDArray[np.int64], compare: Compare) -> StandIns:
    """Return the documents to drop, and the kept document that stands in for each.

    By rank, lowest first, a document is kept unless it is near one that is kept. So every dropped document is itself
    near the copy that stands in for it, the most similar one (in a chain A~B~C, C is not dropped for A), and no two
    kept are near: in so far as pairs were proposed, and in crowds compared.

    In a crowd (pages of one template, all in one bucket) documents are compared here, and only with the last 64 kept of
    each of its crowds. So the work grows with the crowd, not with its square.

    Args:
        crowds: the documents of each crowd.
        rank: of every document, by number: the lower is kept.
        compare: returns the similarity of pairs of documents, 0 below the threshold.
    """
    import numpy as np

    state = _Decisions(crowds, rank, compare)
    swap = rank[near.one] > rank[near.other]
    crowded = np.unique(state.member)
    later = np.concatenate([np.where(swap, near.one, near.other), crowded])
    earlier = np.concatenate([np.where(swap, near.other, near.one), np.full(len(crowded), -1)])
    similarity = np.concatenate([near.similarity, np.full(len(crowded), -1.0)])
    # Document by document, the most similar first; last of all, if it is in a crowd, comes the turn of that.
    order = np.lexsort((rank[earlier], -similarity, rank[later]))
    turns = np.flatnonzero(earlier[order] < 0)
    for some in np.split(order, np.union1d(turns[_TURNS::_TURNS], np.arange(1 << 18, len(order), 1 << 18))):
        state.decide(later[some].tolist(), earlier[some].tolist(), similarity[some].tolist())
    numbers, kept, likeness = (np.array(column) for column in (state.numbers, state.kept, state.likeness))
    order = np.argsort(numbers)
    return StandIns(numbers[order], kept[order], likeness[order])


class _Decisions:
    """Who is dropped for whom so far, and the documents kept in each crowd."""

    def __init__(self, crowds: Sequence[NDArray[np.int64]], rank: NDArray[np.int64], compare: Compare) -> None:
        import numpy as np

        member = np.concatenate([np.zeros(0, np.int64), *crowds])
        order = np.argsort(member, kind="stable")
        self.member = member[order]
        self._crowd = np.repeat(np.arange(len(crowds)), [len(members) for members in crowds])[order]
        self._heads: dict[int, deque[int]] = {}
        self._rank, self._compare = rank, compare
        self._gone = bytearray(len(rank))
        self.numbers, self.kept, self.likeness = array("q"), array("q"), array("d")

    def decide(self, later: list[int], earlier: list[int], similarity: list[float]) -> None:
        """Take turns: whether `later` goes for `earlier`, or where that is -1, for one in its crowds."""
        found = self._compared(later, earlier)
        for number, rival, likeness in zip(later, earlier, similarity, strict=True):
            if self._gone[number]:
                continue
            if rival >= 0:
                if not self._gone[rival]:
                    self._drop(number, rival, likeness)
                continue
            rivals = [(alike, -self._rank[head], head) for head, alike in found.get(number, ()) if not self._gone[head]]
            if rivals:
                self._drop(number, max(rivals)[2], max(rivals)[0])
                continue
            for crowd in self._crowds_of(number):
                self._heads.setdefault(crowd, deque(maxlen=_HEADS)).append(number)

    def _drop(self, number: int, kept: int, similarity: float) -> None:
        self._gone[number] = 1
        self.numbers.append(number)
        self.kept.append(kept)
        self.likeness.append(similarity)

    def _crowds_of(self, number: int) -> list[int]:
        import numpy as np

        first, last = np.searchsorted(self.member, [number, number + 1])
        crowds: list[int] = self._crowd[first:last].tolist()
        return crowds

    def _compared(self, later: list[int], earlier: list[int]) -> dict[int, list[tuple[int, float]]]:
        """Compare, all at once, those whose crowds' turn it is with the kept of these, and with each other."""
        import numpy as np

        undecided = set(later)
        goes = {
            one
            for one, other in zip(later, earlier, strict=True)
            if other >= 0 and other not in undecided and not self._gone[other]
        }
        heads: tuple[list[int], list[int]] = ([], [])
        mates: tuple[list[int], list[int]] = ([], [])
        beside: dict[int, list[int]] = {}
        for number, rival in zip(later, earlier, strict=True):
            if rival >= 0 or number in goes:
                continue
            crowds = self._crowds_of(number)
            for (one, other), kept in ((heads, self._heads), (mates, beside)):
                met = set(chain.from_iterable(kept[crowd] for crowd in crowds if crowd in kept))
                one += [number] * len(met)
                other += met
            for crowd in crowds:
                beside.setdefault(crowd, []).append(number)
        found: dict[int, list[tuple[int, float]]] = {}
        for one, other in (heads, mates):
            if not one:
                continue
            similarity = self._compare(np.array(one, np.int64), np.array(other, np.int64))
            for at in np.flatnonzero(similarity).tolist():
                found.setdefault(one[at], []).append((other[at], float(similarity[at])))
        return found


class Comparison:
    """Compares documents exactly, each with the 12 whose sketches are most like its own, if they may be near at all.

    Sets that it has read stay in memory until they are 32 MB.

    Args:
        sketches: of the documents.
        row_of: the row in `sketches` of each document by number, or of those that are asked for.
        room: memory for shingles, if there is some already.
    """

    def __init__(
        self,
        shingled: Shingled,
        threshold: float,
        sketches: NDArray[np.uint8],
        row_of: NDArray[np.integer[Any]],
        room: NDArray[np.uint64] | None = None,
    ) -> None:
        import numpy as np

        self._shingled, self._threshold = shingled, threshold
        self._sketches, self._row_of = sketches, row_of
        self._values = np.empty(_HASHES_AT_A_TIME, np.uint64) if room is None else room
        self._starts, self._ends = (np.full(len(sketches), -1, np.int64) for _ in range(2))
        self._used = 0

    def __call__(self, one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the Jaccard similarity of pairs, 0 where it is below the threshold or was not compared."""
        import numpy as np

        from metier.corpus.kernel.shingle import Sets, alike

        row, other_row = self._row_of[one].astype(np.int64), self._row_of[other].astype(np.int64)
        common = alike(self._sketches, row, other_row).astype(np.int64)
        likely = np.flatnonzero(common >= _least_alike(self._sketches.shape[1], self._threshold))
        if not len(likely):
            return np.zeros(len(one))
        likely = likely[np.lexsort((other[likely], -common[likely], one[likely]))]
        first = np.append(True, one[likely[1:]] != one[likely[:-1]])
        place = np.arange(len(likely)) - np.maximum.accumulate(np.where(first, np.arange(len(likely)), 0))
        likely = likely[place < _COMPARED]
        self._load(np.array(sorted({*one[likely].tolist(), *other[likely].tolist()})))
        sets, similarity = Sets(self._values, self._starts, self._ends), np.zeros(len(one))
        similarity[likely] = jaccards(sets, row[likely], other_row[likely], self._threshold)
        return similarity

    def _load(self, numbers: NDArray[np.int64]) -> None:
        import numpy as np

        new = numbers[self._starts[self._row_of[numbers]] < 0]
        most = int(self._shingled.most(new).sum())
        if self._used + most > len(self._values):
            self._starts[:], self._used, new = -1, 0, numbers
            most = int(self._shingled.most(new).sum())
            if most > len(self._values):
                self._values = np.empty(most, np.uint64)
        sets, rows = self._shingled.read(new, self._values[self._used : self._used + most]), self._row_of[new]
        self._starts[rows], self._ends[rows] = self._used + sets.starts, self._used + sets.ends
        self._used += len(sets.values)


class _InMemory:
    """The shingles of texts in memory, worked out when they are asked for."""

    def __init__(self, texts: Texts, tokens: NDArray[np.int64], width: int) -> None:
        self._texts, self._tokens, self._width = texts, tokens, width

    def most(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        return self._tokens[numbers]

    def read(self, numbers: NDArray[np.int64], room: NDArray[np.uint64]) -> Sets:
        from metier.corpus.kernel.shingle import sets

        return sets(self._texts, numbers, width=self._width, room=room)


def near_duplicates(
    column: pa.Array | pa.ChunkedArray | Sequence[str], threshold: float = 0.9, *, width: int = 5
) -> StandIns:
    """Return which of these texts are near duplicates of longer ones (or as long ones before them), by their place.

    Texts whose shingles (runs of `width` words) have a Jaccard similarity of at least `threshold` are near. Memory
    apart from the texts: about 300 bytes a text, and up to 128 MB.
    """
    import numpy as np

    from metier.corpus.dedup.buckets import candidates, unpacked
    from metier.corpus.kernel import texts
    from metier.corpus.kernel.shingle import distinct, measure

    held = texts(column)
    bands = bands_for(threshold)
    found = measure(held, bands, width=width)
    assert found.keys is not None
    assert found.sketches is not None
    numbers = np.flatnonzero(found.tokens)
    proposed = [candidates(found.keys[numbers, band], numbers) for band in range(bands.bands)]
    pairs = distinct(np.concatenate([some.pairs for some in proposed]))
    pairs = pairs[plausible(found.sketches, *unpacked(pairs), threshold)]
    shingled = _InMemory(held, found.tokens, width)
    rank = np.empty(len(held), np.int64)
    rank[np.lexsort((np.arange(len(held)), -np.diff(held.offsets)))] = np.arange(len(held))
    crowds = [crowd for some in proposed for crowd in some.crowds]
    # Memory fresh from the system is slow: what verification is done with, crowds are compared in.
    room = np.empty(2 * _HASHES_AT_A_TIME, np.uint64)
    near = verified(pairs, shingled, threshold, room)
    return stand_ins(near, crowds, rank, Comparison(shingled, threshold, found.sketches, np.arange(len(held)), room))
