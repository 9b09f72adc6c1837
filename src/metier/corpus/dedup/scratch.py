"""What must be known of documents to compare them: worked out shard by shard, kept in files, read column by column.

A shard's measures are a folder of plain arrays, written under another name and renamed when it is whole: an attempt
after a kill goes on with the shards that are not there. On disk about 300 bytes a document (of 6,500 bytes of text).
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Method = Literal["minhash", "simhash"]

FORMAT = 1
"""Raised with any change to the files or to what is in them: scratch of another format is not gone on with."""

_ID_BYTES = 16


@dataclass(frozen=True)
class Settings:
    """What makes two documents near: `hamming` and `verify` are for the method "simhash"."""

    threshold: float
    width: int
    method: Method
    hamming: int
    verify: bool


class MeasureTask(NamedTuple):
    """One shard, and the folder that its measures go to."""

    shard: Path
    folder: Path
    settings: Settings


def measure_shard(task: MeasureTask) -> int:
    """Write the measures of one shard, unless they are there, and return how many documents it has."""
    import numpy as np

    from metier.corpus.dedup.near import BINS, bands_for
    from metier.corpus.engine.shards import read_batches, spans
    from metier.corpus.kernel import texts
    from metier.corpus.kernel.shingle import Bands, exact, measure

    settings = task.settings
    if task.folder.is_dir():
        return len(np.fromfile(task.folder / "tokens", np.int64))
    minhash = settings.method == "minhash"
    # SimHash proposes by itself; the sketches tell which of its proposals are worth an exact comparison.
    bands = bands_for(settings.threshold) if minhash else Bands(1, BINS)
    parts: list[dict[str, NDArray[Any]]] = []
    for batch in read_batches(task.shard, spans(task.shard)):
        column = texts(batch.column("text"))
        found = measure(column, bands, simhash=not minhash, width=settings.width)
        assert found.keys is not None and found.sketches is not None
        hashes = found.keys if minhash else found.simhash
        assert hashes is not None
        ids = np.array([id.encode() for id in batch.column("id").to_pylist()], f"S{_ID_BYTES}")
        parts.append(
            {"tokens": found.tokens, "lengths": _lengths(batch), "ids": ids, "exact": exact(column)}
            | {"hashes": hashes.reshape(len(column), -1), "sketches": found.sketches}
        )
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]} if parts else _nothing()
    columns["hashes"] = np.ascontiguousarray(columns["hashes"].T)  # one band after another, as they will be read
    write_whole(task.folder, columns)
    return len(columns["tokens"])


def _lengths(batch: Any) -> NDArray[np.int64]:
    import numpy as np
    import pyarrow.compute as pc

    return np.asarray(pc.utf8_length(batch.column("text").fill_null("")), np.int64)


def _nothing() -> dict[str, NDArray[Any]]:
    import numpy as np

    return {name: np.zeros((0, 1)) for name in ("tokens", "lengths", "ids", "exact", "hashes", "sketches")}


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """Give a folder to write files into that is `folder` when the block is left, and not there at all before."""
    temporary = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}")
    temporary.mkdir(parents=True)
    try:
        yield temporary
        try:
            temporary.replace(folder)
        except OSError:  # another worker was given the same task, and was first
            if not folder.is_dir():
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_whole(folder: Path, columns: dict[str, NDArray[Any]]) -> None:
    """Write arrays as the files of a folder that is there when all of them are."""
    with whole_folder(folder) as temporary:
        for name, column in columns.items():
            column.tofile(temporary / name)


class Measured:
    """The measures of all shards, as columns over the whole corpus. Each is read when it is asked for.

    Bytes a document while they are held: tokens and lengths 8, ids and exact hashes 16, one band's keys 8.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self.folders = list(folders)

    @cached_property
    def starts(self) -> NDArray[np.int64]:
        """The number of each shard's first document, and at the end that of all documents."""
        import numpy as np

        sizes = [(folder / "tokens").stat().st_size // 8 for folder in self.folders]
        return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)

    @property
    def count(self) -> int:
        """Documents in all."""
        return int(self.starts[-1])

    def column(self, name: Literal["tokens", "lengths"]) -> NDArray[np.int64]:
        """Return tokens or characters of every document."""
        import numpy as np

        return np.concatenate([np.zeros(0, np.int64), *(np.fromfile(f / name, np.int64) for f in self.folders)])

    def exact(self) -> NDArray[np.uint64]:
        """Return the exact hashes: (documents, 2)."""
        import numpy as np

        parts = [np.zeros(0, np.uint64), *(np.fromfile(folder / "exact", np.uint64) for folder in self.folders)]
        return np.concatenate(parts).reshape(-1, 2)

    def ids(self) -> NDArray[np.uint64]:
        """Return the first 16 bytes of the ids, as two words that are ordered as the ids are: (documents, 2)."""
        import numpy as np

        parts = [np.zeros(0, ">u8"), *(np.fromfile(folder / "ids", ">u8") for folder in self.folders)]
        return np.concatenate(parts).astype(np.uint64).reshape(-1, 2)

    def hashes(self, band: int) -> NDArray[np.uint64]:
        """Return the keys of one band, or the SimHashes (band 0)."""
        import numpy as np

        sizes = np.diff(self.starts).tolist()
        parts = [
            np.fromfile(folder / "hashes", np.uint64, size, offset=8 * band * size)
            for folder, size in zip(self.folders, sizes, strict=True)
        ]
        return np.concatenate([np.zeros(0, np.uint64), *parts])

    def sketches(self, numbers: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return the sketches of documents, given by ascending number."""
        import numpy as np

        cuts = np.searchsorted(numbers, self.starts)
        parts = []
        for at, folder in enumerate(self.folders):
            rows = numbers[cuts[at] : cuts[at + 1]] - self.starts[at]
            if len(rows):
                size = (folder / "sketches").stat().st_size // int(self.starts[at + 1] - self.starts[at])
                parts.append(_rows(folder / "sketches", rows, size))
        return np.concatenate(parts) if parts else np.zeros((0, 1), np.uint8)


def _rows(path: Path, rows: NDArray[np.int64], size: int) -> NDArray[np.uint8]:
    """Return some rows of a file: all of it is read where that takes less than a call for each."""
    import numpy as np

    if path.stat().st_size < 32 * size * len(rows):
        return np.fromfile(path, np.uint8).reshape(-1, size)[rows]
    found = np.empty((len(rows), size), np.uint8)
    with path.open("rb") as file:
        for at, row in enumerate(rows.tolist()):
            os.preadv(file.fileno(), [found[at].data], row * size)
    return found
