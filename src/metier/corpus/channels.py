"""The channels of a mix: how much text each has, which documents of it are taken, and how they are interleaved."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from heapq import heapify, heappop, heapreplace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from metier.core.files import write_json_atomic
from metier.core.types import TRAIN, Document
from metier.corpus.engine.shards import read_batches, spans

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from metier.corpus.pack.ids import TextEncoder

PLACES = 1 << 16
"""Documents are taken by a hash of their id, in so many steps: a share is met to a 65,536th or to a document."""

HELD_OUT = "held out"


class MeasureTask(NamedTuple):
    """A shard of documents, and the stem of the files for what is measured of it."""

    shard: Path
    out: Path


class Measured(NamedTuple):
    """What a shard holds: documents that came, and those that are never mixed, by reason."""

    came: int
    dropped: dict[str, int]


@dataclass(frozen=True)
class Measure:
    """Writes the size of each document of a shard (0 where it is never mixed) and its place, as uint32 [2, documents].

    Args:
        encoder: counts tokens; None counts characters.
        seed: of the places.
    """

    encoder: TextEncoder | None
    seed: int

    def __call__(self, task: MeasureTask) -> Measured:
        """Write the measures of a shard, unless an earlier attempt did, and return what it holds."""
        import numpy as np

        told = task.out.with_suffix(".json")
        if not told.is_file():
            dropped, came = Counter[str](), 0
            parts = [np.zeros((2, 0), np.uint32)]
            for batch in read_batches(task.shard, spans(task.shard)):
                came += batch.num_rows
                places = [place(id, self.seed) for id in batch.column("id").to_pylist()]
                parts.append(np.array([self._sizes(batch, dropped), places], np.uint32))
            np.save(task.out.with_suffix(".npy"), np.concatenate(parts, axis=1))
            write_json_atomic(told, {"came": came, "dropped": dict(sorted(dropped.items()))})
        return Measured(**json.loads(told.read_text()))

    def _sizes(self, batch: pa.RecordBatch, dropped: Counter[str]) -> NDArray[np.int64]:
        import numpy as np
        import pyarrow.compute as pc

        splits = batch.column("split").to_pylist()
        # General text that nobody examines on need not have been split.
        rows = np.array([row for row, split in enumerate(splits) if split in (TRAIN, None)], np.int64)
        held_out = len(splits) - rows.size
        texts = batch.column("text").take(rows)
        sizes = np.zeros(len(splits), np.int64)
        if self.encoder is None:
            sizes[rows] = pc.fill_null(pc.utf8_length(texts), 0).to_numpy(False)
            reasons = Counter({"no text": rows.size - np.count_nonzero(sizes)})
        else:
            encoded = self.encoder(texts)
            sizes[rows] = [0 if one.ids is None else one.ids.size for one in encoded]
            reasons = Counter(one.reason for one in encoded if one.reason is not None)
        dropped.update({reason: int(count) for reason, count in (reasons | {HELD_OUT: held_out}).items() if count})
        return sizes


def place(id: str, seed: int) -> int:
    """Return the fixed place of a document in 0..PLACES-1; those below a threshold are taken."""
    return int.from_bytes(hashlib.sha256(f"mix:{seed}:{id}".encode()).digest()[:2], "big")


class Take(NamedTuple):
    """What is taken of a channel: all documents `passes` times, and once more those whose place is below `below`."""

    passes: int
    below: int


class Taken(NamedTuple):
    """What is taken of a channel: its size with repetitions and without, and the documents with and without."""

    repeated: int
    once: int
    copies: int
    documents: int


class Channel:
    """The measured documents of one channel. Of each, 8 bytes lie in files beside it and none in memory.

    Args:
        tasks: of its shards, all done.
    """

    def __init__(self, name: str, tasks: list[MeasureTask]) -> None:
        self.name = name
        self._tasks = tasks

    def measures(self, task: MeasureTask) -> NDArray[np.uint32]:
        """Return sizes and places of a shard's documents, [2, documents]."""
        import numpy as np

        found: NDArray[np.uint32] = np.load(task.out.with_suffix(".npy"))
        return found

    @cached_property
    def _by_place(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Size and number of the documents at each place."""
        import numpy as np

        size, number = np.zeros(PLACES, np.int64), np.zeros(PLACES, np.int64)
        for task in self._tasks:
            sizes, places = self.measures(task)
            size += np.bincount(places, sizes, PLACES).astype(np.int64)
            number += np.bincount(places, sizes > 0, PLACES).astype(np.int64)
        return size, number

    @property
    def size(self) -> int:
        """Tokens or characters of all documents that may be mixed."""
        return int(self._by_place[0].sum())

    @property
    def documents(self) -> int:
        """Documents that may be mixed."""
        return int(self._by_place[1].sum())

    def take(self, wanted: float) -> Take:
        """Return what to take so that its size is as near to `wanted` as whole documents allow."""
        import numpy as np

        passes, rest = divmod(wanted, self.size)
        sums = np.concatenate([[0], np.cumsum(self._by_place[0])])
        below = int(np.abs(sums - rest).argmin())
        if sums[below] == self.size:
            return Take(int(passes) + 1, 0)
        if not passes and not sums[below]:  # however small the share, one document
            below = int(np.flatnonzero(sums)[0])
        return Take(int(passes), below)

    def taken(self, take: Take) -> Taken:
        """Return how much is taken."""
        size, number = self._by_place
        once = PLACES if take.passes else take.below
        return Taken(
            take.passes * self.size + int(size[: take.below].sum()),
            int(size[:once].sum()),
            take.passes * self.documents + int(number[: take.below].sum()),
            int(number[:once].sum()),
        )

    def stream(self, take: Take) -> Iterator[tuple[Document, int]]:
        """Yield the documents taken and their sizes: whole passes first, in their order; a copy's id ends in `#2`, …"""
        for number in range(take.passes + (take.below > 0)):
            below = PLACES if number < take.passes else take.below
            for task in self._tasks:
                yield from self._shard(task, below, f"#{number + 1}" if number else "")

    def _shard(self, task: MeasureTask, below: int, suffix: str) -> Iterator[tuple[Document, int]]:
        import pyarrow as pa

        sizes, places = self.measures(task)
        chosen = (sizes > 0) & (places < below)
        start = 0
        for batch in read_batches(task.shard, spans(task.shard)):
            here = slice(start, start + batch.num_rows)
            start += batch.num_rows
            if not chosen[here].any():
                continue
            # Only the text of what is taken is decoded.
            rows = batch.filter(pa.array(chosen[here])).to_pylist()
            for row, size in zip(rows, sizes[here][chosen[here]].tolist(), strict=True):
                document = Document(**row)
                yield document._replace(id=document.id + suffix, split=TRAIN, channel=self.name), size


def interleaved(streams: Mapping[str, tuple[Iterator[tuple[Document, int]], int]]) -> Iterator[Document]:
    """Yield the documents of all streams so that they come to their ends together.

    Every beginning of the mix has nearly the shares of the whole: next is always the stream that is least far.

    Args:
        streams: documents with their sizes, and the size of the whole stream, by name.
    """
    heap = [(0.0, number, 0, stream, whole) for number, (stream, whole) in enumerate(streams.values()) if whole]
    heapify(heap)
    while heap:
        _, number, done, stream, whole = heap[0]
        found = next(stream, None)
        if found is None:
            heappop(heap)
            continue
        done += found[1]
        heapreplace(heap, (done / whole, number, done, stream, whole))
        yield found[0]
