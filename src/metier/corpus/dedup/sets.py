"""Shingles of the documents that must be compared exactly, written shard by shard and read back by number.

The text is read a second time rather than the shingles of all documents kept from the first: they would be as large as
the text, and most documents are like no other.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from metier.corpus.kernel.shingle import Sets

_OPEN_FILES = 200  # well below the 1,024 that a process may usually have open


class SetsTask(NamedTuple):
    """One shard. In `wanted`, a file over the whole corpus, is 1 for documents whose sets are needed, 2 for samples.

    A sample holds the hashes up to `most`, and so does the beginning of every set.
    """

    shard: Path
    folder: Path
    wanted: Path
    first: int
    width: int
    most: int


def write_sets(task: SetsTask) -> Path:
    """Write the sets of a shard's documents, unless they are there: `values` and where each document's `ends`."""
    import numpy as np

    from metier.corpus.dedup.scratch import whole_folder
    from metier.corpus.engine.shards import read_batches, spans
    from metier.corpus.kernel import texts
    from metier.corpus.kernel.shingle import sets

    if task.folder.is_dir():
        return task.folder
    batches = spans(task.shard)
    wanted = np.fromfile(task.wanted, np.uint8, sum(span.rows for span in batches), offset=task.first)
    starts = np.cumsum([0, *(span.rows for span in batches)])
    needed = {at for at in range(len(batches)) if wanted[starts[at] : starts[at + 1]].any()}
    read, sizes = read_batches(task.shard, [batches[at] for at in sorted(needed)]), [np.zeros(0, np.int64)]
    with whole_folder(task.folder) as folder, (folder / "values").open("wb") as out:
        for at, span in enumerate(batches):
            sizes.append(np.zeros(span.rows, np.int64))
            if at not in needed:
                continue
            column, mine = texts(next(read).column("text")), wanted[starts[at] : starts[at + 1]]
            whole, part = np.flatnonzero(mine == 1), np.flatnonzero(mine == 2)
            found, sampled = sets(column, whole, width=task.width), sets(column, part, width=task.width, most=task.most)
            sizes[-1][whole], sizes[-1][part] = found.sizes, sampled.sizes
            _in_order(found.values, sampled.values, mine, sizes[-1]).tofile(out)
        np.cumsum(np.concatenate(sizes)).tofile(folder / "ends")
    return task.folder


def _in_order(
    whole: NDArray[np.uint64], part: NDArray[np.uint64], wanted: NDArray[np.uint8], sizes: NDArray[np.int64]
) -> NDArray[np.uint64]:
    """Put the hashes of both kinds of documents in the documents' order."""
    import numpy as np

    kind = np.repeat(wanted, sizes)
    values = np.empty(len(kind), np.uint64)
    values[kind == 1], values[kind == 2] = whole, part
    return values


class StoredSets:
    """The sets of all shards, read by number: a `Shingled`. Memory: 8 bytes a document, and what it is asked for.

    Files are read at a place, not mapped: mapped pages would count as resident memory, and grow with the corpus.
    """

    def __init__(self, folders: Sequence[Path], starts: NDArray[np.int64]) -> None:
        import numpy as np

        self._folders, self._starts = list(folders), starts
        self._ends = np.concatenate(
            [np.zeros(0, np.int64), *(np.fromfile(f / "ends", np.int64) for f in self._folders)]
        )
        self._open: OrderedDict[int, int] = OrderedDict()

    def most(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return how many shingles each document has here."""
        return self._ends[numbers] - self._begins(numbers)

    def _begins(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        import numpy as np

        # In each shard's file the first document's set begins at 0, another's where that of the one before ends.
        shard = np.searchsorted(self._starts, numbers, side="right") - 1
        return np.where(numbers == self._starts[shard], 0, self._ends[numbers - 1])

    def read(self, numbers: NDArray[np.int64], room: NDArray[np.uint64]) -> Sets:
        """Return the sets of documents, given by ascending number, in `room`."""
        import numpy as np

        from metier.corpus.kernel.shingle import Sets

        begins, sizes = self._begins(numbers), self.most(numbers)
        ends = np.cumsum(sizes)
        shard = np.searchsorted(self._starts, numbers, side="right") - 1
        # Neighbours in a file are read in one go.
        apart = np.flatnonzero((shard[1:] != shard[:-1]) | (begins[1:] != begins[:-1] + sizes[:-1])) + 1
        for first, last in zip([0, *apart.tolist()], [*apart.tolist(), len(numbers)], strict=True):
            if first < last:
                into = room[ends[first] - sizes[first] : ends[last - 1]]
                self._read(int(shard[first]), int(begins[first]), into)
        return Sets(room[: int(ends[-1]) if len(ends) else 0], ends - sizes, ends)

    def _read(self, shard: int, place: int, into: NDArray[np.uint64]) -> None:
        import numpy as np

        file = self._open.pop(shard, None)
        if file is None:
            file = os.open(self._folders[shard] / "values", os.O_RDONLY | os.O_CLOEXEC)
        self._open[shard] = file
        if len(self._open) > _OPEN_FILES:
            os.close(self._open.popitem(last=False)[1])
        left, at = into.view(np.uint8).data, 8 * place
        while len(left):
            got = os.preadv(file, [left], at)
            if got == 0:
                raise OSError(f"{self._folders[shard] / 'values'} ends too soon")
            left, at = left[got:], at + got

    def close(self) -> None:
        """Close the files."""
        while self._open:
            os.close(self._open.popitem()[1])


class VerifyTask(NamedTuple):
    """Compare the pairs of one file exactly."""

    pairs: Path
    folders: list[Path]
    starts: NDArray[np.int64]
    threshold: float
    out: Path


def verify(task: VerifyTask) -> Path:
    """Write the pairs that are near and how near, unless they are there: `one`, `other`, `similarity`."""
    import numpy as np

    from metier.corpus.dedup.near import verified
    from metier.corpus.dedup.scratch import write_whole

    if not task.out.is_dir():
        stored = StoredSets(task.folders, task.starts)
        try:
            near = verified(np.fromfile(task.pairs, np.uint64), stored, task.threshold)
        finally:
            stored.close()
        write_whole(task.out, near._asdict())
    return task.out
