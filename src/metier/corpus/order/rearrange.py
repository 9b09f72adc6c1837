"""Write documents in another order when there are more of them than memory: an external sort by place.

Each shard is first written to a run whose rows are sorted by their new place. Then each part of the result takes its
slice of every run. Memory: 16 bytes a document for the order, and some 350 MB a worker. Disk: the text once more,
uncompressed, until the work is done. Every byte is read twice and written twice.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from metier.core import Work
from metier.core.tables import ROWS_PER_SHARD, WEIGHT_PER_SHARD
from metier.corpus.engine.shards import BYTES_PER_GROUP, ROWS_PER_BATCH, read_batches, spans, synced_rename
from metier.corpus.tasks import Tasks

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

_SHARDS_TOGETHER = 2  # of the result, written in one task: some 64 MB of text, and each task opens every run


class RunTask(NamedTuple):
    """A shard, and the stem of its run; the new places of its rows are in `stem.places.npy`."""

    shard: Path
    stem: Path


class Part(NamedTuple):
    """One shard of the result: the places it holds, and those at which a row group begins."""

    file: Path
    start: int
    stop: int
    groups: tuple[int, ...]


def rearrange(
    work: Work, pool: Tasks, shards: Sequence[Path], order: NDArray[np.int64], sizes: NDArray[Any], scratch: Path
) -> None:
    """Write the documents of `shards` as the artifact's own, in the given order. What a killed attempt wrote is kept.

    Args:
        order: the number of the document at each place, counted over all shards; each number once.
        sizes: characters of each document, by number.
    """
    import numpy as np
    import pyarrow.parquet as pq

    places = np.empty_like(order)
    places[order] = np.arange(order.size)
    counts = [pq.read_metadata(shard).num_rows for shard in shards]
    ends = np.cumsum([0, *counts])
    runs = [RunTask(shard.absolute(), scratch.absolute() / f"run-{at:05d}") for at, shard in enumerate(shards)]
    for run, (start, stop) in zip(runs, pairwise(ends), strict=True):
        np.save(run.stem.with_suffix(".places.npy"), places[start:stop])
    folder = work.folder.absolute() / "documents"
    folder.mkdir(exist_ok=True)
    with work.progress("sorting", len(runs), "shards") as bar:
        for _ in pool.every(write_run, runs, what="sorting documents"):
            bar.advance()
    del places
    parts = cut_parts(sizes[order], folder)
    tasks = [tuple(parts[at : at + _SHARDS_TOGETHER]) for at in range(0, len(parts), _SHARDS_TOGETHER)]
    with work.progress("writing", int(order.size), "documents") as bar:
        for count in pool.every(Merge(tuple(run.stem for run in runs)), tasks, what="writing documents"):
            bar.advance(count)


def cut_parts(sizes: NDArray[Any], folder: Path) -> list[Part]:
    """Cut the result into shards of at most 50,000 rows, which end when they hold 32 million characters.

    Args:
        sizes: characters of each document, by place.
    """
    parts, start = list[Part](), 0
    while start < sizes.size:
        stop = start + _fitting(sizes[start : start + ROWS_PER_SHARD], WEIGHT_PER_SHARD)
        groups = [start]
        while (end := groups[-1] + _fitting(sizes[groups[-1] : stop][:ROWS_PER_BATCH], BYTES_PER_GROUP)) < stop:
            groups.append(end)
        parts.append(Part(folder / f"part-{len(parts):05d}.parquet", start, stop, tuple(groups)))
        start = stop
    return parts


def _fitting(sizes: NDArray[Any], most: int) -> int:
    """Return how many of the first documents reach `most` characters, or all of them if they do not."""
    return min(int(sizes.cumsum(dtype="i8").searchsorted(most)) + 1, sizes.size)


def write_run(task: RunTask) -> None:
    """Write a shard sorted by place, and the places; nothing if that was done before."""
    import numpy as np
    import pyarrow as pa

    run = task.stem.with_suffix(".arrow")
    if run.is_file():
        return
    batches = list(read_batches(task.shard, spans(task.shard)))
    places = np.load(task.stem.with_suffix(".places.npy"))
    sorting = np.argsort(places)
    np.save(task.stem.with_suffix(".sorted.npy"), places[sorting])
    temporary = run.with_name(f".{run.name}.{os.getpid()}")
    with temporary.open("wb") as out:
        if batches:
            table = pa.Table.from_batches(batches).combine_chunks()
            with pa.ipc.new_file(out, table.schema) as writer:
                for start in range(0, places.size, ROWS_PER_BATCH):
                    writer.write_table(table.take(sorting[start : start + ROWS_PER_BATCH]).combine_chunks())
    synced_rename(temporary, run)


@dataclass(frozen=True)
class Merge:
    """Writes shards of the result, taking their rows from every run."""

    runs: tuple[Path, ...]

    def __call__(self, parts: Sequence[Part]) -> int:
        """Write parts that follow each other, unless they are there, and return their documents."""
        missing = [part for part in parts if not part.file.is_file()]
        if missing:
            rows = self._between(missing[0].start, missing[-1].stop)
            for part in missing:
                _write(part, rows.slice(part.start - missing[0].start, part.stop - part.start))
        return sum(part.stop - part.start for part in parts)

    def _between(self, start: int, stop: int) -> pa.Table:
        import numpy as np
        import pyarrow as pa

        found: list[Any] = []
        places = []
        for run in self.runs:
            there = np.load(run.with_suffix(".sorted.npy"), mmap_mode="r")
            first, last = np.searchsorted(there, [start, stop]).tolist()
            if first == last:
                continue
            places.append(np.array(there[first:last]))
            with pa.memory_map(str(run.with_suffix(".arrow"))) as file, pa.ipc.open_file(file) as reader:
                for number in range(first // ROWS_PER_BATCH, (last - 1) // ROWS_PER_BATCH + 1):
                    at = number * ROWS_PER_BATCH
                    piece = reader.get_batch(number)
                    found.append(piece.slice(max(first - at, 0), min(last - at, len(piece)) - max(first - at, 0)))
        return pa.Table.from_batches(found).take(np.argsort(np.concatenate(places)))


def _write(part: Part, rows: pa.Table) -> None:
    import pyarrow.parquet as pq

    temporary = part.file.with_name(f".{part.file.name}.{os.getpid()}")
    try:
        with pq.ParquetWriter(temporary, rows.schema, compression="zstd") as writer:
            for start, stop in pairwise([*part.groups, part.stop]):
                writer.write_table(rows.slice(start - part.start, stop - start))
        synced_rename(temporary, part.file)
    finally:
        temporary.unlink(missing_ok=True)
