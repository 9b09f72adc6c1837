"""Pairs of documents worth comparing, over all shards: band by band, and then each pair once.

1. `propose`: the keys of one band (or SimHash table) bring documents together; its pairs go to a file, its crowds to
   another. Of more than eight million documents a task takes those of an eighth, a quarter … of all keys.
2. `join`: a range of the first document's number. Its pairs of all bands are put together, each once, and those that
   their sketches rule out are left out.

Every task's memory is bounded by what it takes, not by the corpus: 40 bytes a document and 24 a pair.
"""

from __future__ import annotations

import os
import sys
import uuid
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from metier.corpus.dedup.scratch import Settings

_DOCUMENTS_A_TASK = 8_000_000
_KEYS_A_TASK = 2_000_000  # bands of a small corpus are done together: a task of its own for each is not worth a worker
_PAIRS_A_TASK = 4_000_000
_PAIRS_AT_A_TIME = 250_000  # their sketches are in memory: 64 MB at most


class ProposeTask(NamedTuple):
    """Bands of all documents marked in the file `alive`; of their keys, those whose lowest bits are `part`."""

    folders: list[Path]
    scratch: Path
    tables: list[tuple[int, int | None]]
    part: int
    parts: int
    settings: Settings


class Proposed(NamedTuple):
    """What one task wrote: a file of packed pairs, ascending, and one of crowds, each its size and its documents."""

    pairs: list[Path]
    crowds: list[Path]


def propose_tasks(folders: Sequence[Path], scratch: Path, count: int, settings: Settings) -> list[ProposeTask]:
    """Return the tasks for a corpus of `count` documents."""
    from metier.corpus.dedup.hamming import tables
    from metier.corpus.dedup.near import bands_for

    every: list[tuple[int, int | None]] = (
        [(band, None) for band in range(bands_for(settings.threshold).bands)]
        if settings.method == "minhash"
        else list(enumerate(tables(count, settings.hamming)))
    )
    parts = 1
    while count > parts * _DOCUMENTS_A_TASK:
        parts *= 2
    together = max(1, _KEYS_A_TASK // max(count, 1))
    groups = [every[at : at + together] for at in range(0, len(every), together)]
    return [
        ProposeTask(list(folders), scratch, group, part, parts, settings) for group in groups for part in range(parts)
    ]


def propose(task: ProposeTask) -> Proposed:
    """Write the pairs and crowds of some bands, unless they are there."""
    import numpy as np

    from metier.corpus.dedup.buckets import candidates, unpacked
    from metier.corpus.dedup.hamming import different, table_keys
    from metier.corpus.dedup.scratch import Measured

    measured = Measured(task.folders)
    numbers: NDArray[np.int64] | None = None
    made = Proposed([], [])
    for name, table in task.tables:
        stem = task.scratch / f"{name:04d}-{task.part:03d}"
        made.pairs.append(stem.with_suffix(".pairs"))
        made.crowds.append(stem.with_suffix(".crowds"))
        if made.crowds[-1].is_file():
            continue
        if numbers is None:
            numbers = np.flatnonzero(np.fromfile(task.scratch / "alive", np.bool_))
        hashes = measured.hashes(name if table is None else 0)[numbers]
        keys = hashes if table is None else table_keys(hashes, table)
        mine = slice(None) if task.parts == 1 else keys & np.uint64(task.parts - 1) == np.uint64(task.part)
        found = candidates(keys[mine], numbers[mine])
        pairs = found.pairs
        if table is not None:
            one, other = (np.searchsorted(numbers, side) for side in unpacked(pairs))
            pairs = pairs[different(hashes[one], hashes[other]) <= task.settings.hamming]
        write_file(made.pairs[-1], pairs)
        crowds = [np.concatenate([[len(crowd)], crowd]) for crowd in found.crowds]
        write_file(made.crowds[-1], np.concatenate([np.zeros(0, np.int64), *crowds]))
    return made


def read_crowds(paths: Sequence[Path]) -> list[NDArray[np.int64]]:
    """Return the documents of each crowd."""
    import numpy as np

    crowds = []
    for path in paths:
        words, at = np.fromfile(path, np.int64), 0
        while at < len(words):
            size = int(words[at])
            crowds.append(words[at + 1 : at + 1 + size])
            at += 1 + size
    return crowds


class JoinTask(NamedTuple):
    """The pairs whose first document is at least `low` and below `high`, from the files of all bands."""

    folders: list[Path]
    files: list[Path]
    low: int
    high: int
    out: Path
    settings: Settings


def join_tasks(
    folders: Sequence[Path], files: Sequence[Path], scratch: Path, count: int, settings: Settings
) -> list[JoinTask]:
    """Return tasks of about four million pairs each, before those that are in several bands are counted once."""
    import numpy as np

    total = sum(file.stat().st_size // 8 for file in files)
    wanted = max(1, -(-total // _PAIRS_A_TASK))
    step = max(1, total // (64 * wanted))
    firsts = [np.fromfile(file, np.uint64)[::step] >> np.uint64(32) for file in files if wanted > 1]
    sample = np.sort(np.concatenate([np.zeros(0, np.uint64), *firsts]))
    cuts = np.unique(sample[[len(sample) * at // wanted for at in range(1, wanted)]]) if len(sample) else sample
    edges = [0, *cuts.astype(np.int64).tolist(), count]
    return [
        JoinTask(list(folders), list(files), low, high, scratch / f"joined-{at:05d}.pairs", settings)
        for at, (low, high) in enumerate(pairwise(edges))
    ]


def join(task: JoinTask) -> Path:
    """Write the pairs of a range, unless they are there."""
    import numpy as np

    from metier.corpus.dedup.buckets import unpacked
    from metier.corpus.dedup.near import plausible
    from metier.corpus.dedup.scratch import Measured
    from metier.corpus.kernel.shingle import distinct

    if task.out.is_file():
        return task.out
    parts = [_between(file, task.low << 32, task.high << 32) for file in task.files]
    pairs = distinct(np.concatenate([np.zeros(0, np.uint64), *parts]))
    parts.clear()
    if task.settings.method == "simhash" and not task.settings.verify:
        write_file(task.out, pairs)
        return task.out
    measured, kept = Measured(task.folders), [np.zeros(0, np.uint64)]
    for start in range(0, len(pairs), _PAIRS_AT_A_TIME):
        some = pairs[start : start + _PAIRS_AT_A_TIME]
        one, other = unpacked(some)
        numbers = distinct(np.concatenate([one, other]).astype(np.uint64)).astype(np.int64)
        sketches = measured.sketches(numbers)
        rows = np.searchsorted(numbers, one), np.searchsorted(numbers, other)
        kept.append(some[plausible(sketches, *rows, task.settings.threshold)])
    write_file(task.out, np.concatenate(kept))
    return task.out


def _between(path: Path, low: int, high: int) -> NDArray[np.uint64]:
    """Return the words of an ascending file that are at least `low` and below `high`, reading only those."""
    import numpy as np

    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size // 8
        first, last = (_first_not_below(file.fileno(), size, bound) for bound in (low, high))
        return np.fromfile(path, np.uint64, last - first, offset=8 * first)


def _first_not_below(file: int, size: int, bound: int) -> int:
    low, high = 0, size
    while low < high:
        middle = (low + high) // 2
        if int.from_bytes(os.pread(file, 8, 8 * middle), sys.byteorder) < bound:
            low = middle + 1
        else:
            high = middle
    return low


def write_file(path: Path, words: NDArray[np.generic]) -> None:
    """Write an array as a file that is there when all of it is."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    words.tofile(temporary)
    temporary.replace(path)
