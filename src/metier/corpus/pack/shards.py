"""Pack some shards of documents into one shard of windows: what a worker does."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from metier.core.tokens import told_of, write_shard
from metier.core.types import TRAIN
from metier.corpus.engine.shards import read_batches, spans
from metier.corpus.pack.best_fit import best_fit_decreasing, cut_lengths, in_order
from metier.corpus.pack.ids import TextEncoder

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

NOT_TRAINING = "not in the train split"
_TASK_BYTES = 32_000_000  # uncompressed; many small shards are packed together, or each would leave a window half full
_NO_CHANNEL = ""


class PackTask(NamedTuple):
    """Shards of documents to pack, in their order, into the shard of windows `out`."""

    shards: tuple[Path, ...]
    out: Path


class Packed(NamedTuple):
    """What came of a task. `cut`: documents longer than a window. `channels`: tokens by channel ("" without one)."""

    came: int
    kept: int
    dropped: dict[str, int]
    windows: int
    tokens: int
    pieces: int
    cut: int
    channels: dict[str, int]


@dataclass(frozen=True)
class Packing:
    """Packs tasks. A task whose file is there already is not done again.

    Args:
        buffer: pieces that may wait for a window with room, in the order of the documents; None packs all documents of
            a task at once, longest first, and then shuffles the windows.
        unsplit: whether documents that were never split are taken too.
        narrow: whether ids fit 16 bits.
    """

    encoder: TextEncoder
    sequence_length: int
    buffer: int | None
    seed: int
    unsplit: bool
    narrow: bool

    def __call__(self, task: PackTask) -> Packed:
        """Write the task's shard of windows and return its counts."""
        told = told_of(task.out)
        if told is None:
            told = self._pack(task)._asdict()
        return Packed(**told)

    def _pack(self, task: PackTask) -> Packed:
        import numpy as np

        documents, dropped, came = list[_Document](), Counter[str](), 0
        for shard in task.shards:
            for batch in read_batches(shard, spans(shard)):
                came += batch.num_rows
                documents += self._encoded(batch, dropped)
        pieces = [
            _Piece(number, start, length)
            for number, document in enumerate(documents)
            for start, length in _pieces(document.ids.size, self.sequence_length)
        ]
        bins = self._bins([piece.length for piece in pieces], task.out.name)
        laid = [pieces[index] for one in bins for index in one]
        channels = Counter[str]()
        for piece in laid:
            channels[documents[piece.document].channel or _NO_CHANNEL] += piece.length
        packed = Packed(
            came,
            len(documents),
            dict(sorted(dropped.items())),
            len(bins),
            sum(piece.length for piece in laid),
            len(laid),
            sum(document.ids.size > self.sequence_length for document in documents),
            dict(sorted(channels.items())),
        )
        ids = [documents[piece.document].ids[piece.start : piece.start + piece.length] for piece in laid]
        kind = np.uint16 if self.narrow else np.uint32
        write_shard(
            task.out,
            np.concatenate(ids, dtype=kind, casting="unsafe") if ids else np.zeros(0, kind),
            np.array([piece.length for piece in laid], np.int32),
            np.array([len(one) for one in bins], np.int32),
            [documents[piece.document].id for piece in laid],
            [documents[piece.document].channel for piece in laid],
            packed._asdict(),
        )
        return packed

    def _encoded(self, batch: pa.RecordBatch, dropped: Counter[str]) -> list[_Document]:
        import pyarrow as pa

        splits = batch.column("split").to_pylist()
        allowed = (TRAIN, None) if self.unsplit else (TRAIN,)
        rows = [row for row, split in enumerate(splits) if split in allowed]
        dropped[NOT_TRAINING] += len(splits) - len(rows)
        chosen = batch.take(pa.array(rows, pa.int64()))
        found = []
        names, channels = chosen.column("id").to_pylist(), chosen.column("channel").to_pylist()
        for name, channel, ids in zip(names, channels, self.encoder(chosen.column("text")), strict=True):
            if ids.ids is None:
                dropped[ids.reason or ""] += 1
            else:
                found.append(_Document(name, channel, ids.ids))
        dropped += Counter()  # forget the reasons that nobody gave
        return found

    def _bins(self, lengths: Sequence[int], name: str) -> list[list[int]]:
        if self.buffer is not None:
            return in_order(lengths, self.sequence_length, self.buffer)
        bins = best_fit_decreasing(lengths, self.sequence_length)
        # Longest first is an order, and none was asked for.
        random.Random(f"{self.seed}/{name}").shuffle(bins)
        return bins


class _Document(NamedTuple):
    id: str
    channel: str | None
    ids: NDArray[np.uint32]


class _Piece(NamedTuple):
    document: int
    start: int
    length: int


def tasks(shards: Iterable[Path], folder: Path) -> list[PackTask]:
    """Return what to pack into which file: runs of shards of some 32 MB. It depends on nothing but the shards."""
    found: list[PackTask] = []
    run: list[Path] = []
    size = 0
    for shard in shards:
        weight = _weight(shard)
        if run and size + weight > _TASK_BYTES:
            found.append(PackTask(tuple(run), folder / f"part-{len(found):05d}.arrow"))
            run, size = [], 0
        run.append(shard)
        size += weight
    return [*found, PackTask(tuple(run), folder / f"part-{len(found):05d}.arrow")] if run else found


def _pieces(length: int, capacity: int) -> Iterator[tuple[int, int]]:
    """Yield the start and the length of each piece of a document."""
    start = 0
    for size in cut_lengths(length, capacity):
        yield start, size
        start += size


def _weight(shard: Path) -> int:
    import pyarrow.parquet as pq

    about = pq.read_metadata(shard)
    return sum(about.row_group(group).total_byte_size for group in range(about.num_row_groups))
