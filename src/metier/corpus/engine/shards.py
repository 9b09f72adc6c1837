"""Shards of documents as the engine reads and writes them: in batches of bounded size, whole or not at all."""

from __future__ import annotations

import json
import os
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

from metier.core import Failure
from metier.core.files import write_json_atomic
from metier.corpus.engine.operators import NOTES, REASON

if TYPE_CHECKING:
    import pyarrow as pa

ROWS_PER_BATCH = 2_000
BYTES_PER_GROUP = 8_000_000
SCRATCH = ".scratch-apply"  # the workshop removes `.scratch*` when the artifact is finished


class State(NamedTuple):
    """What tells one input from another that has its name: its bytes and when it was written, in nanoseconds."""

    size: int
    time: int


class Span(NamedTuple):
    """One batch of a shard: rows `start` to `start + rows` of a row group."""

    group: int
    start: int
    rows: int


def spans(shard: Path) -> tuple[Span, ...]:
    """Return the batches of a shard. Raises Failure if the file is damaged."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        about = pq.read_metadata(shard)
    except pa.ArrowInvalid as error:
        raise _damaged(shard, error) from error
    found: list[Span] = []
    for group in range(about.num_row_groups):
        rows = about.row_group(group).num_rows
        found += [Span(group, at, min(ROWS_PER_BATCH, rows - at)) for at in range(0, rows, ROWS_PER_BATCH)]
    return tuple(found)


def read_batches(shard: Path, wanted: Iterable[Span]) -> Iterator[pa.RecordBatch]:
    """Yield batches of a shard, a row group in memory at a time. Raises Failure if the file is damaged."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    held, table = None, None
    try:
        # No read-ahead and no threads: the pool uses the cores, and a batch is all that should be in memory.
        with pq.ParquetFile(shard, pre_buffer=False) as file:
            for span in wanted:
                if span.group != held:
                    table = None  # let go of the last group before the next is read
                    held, table = span.group, file.read_row_group(span.group, use_threads=False)
                assert table is not None
                yield pa.concat_batches(table.slice(span.start, span.rows).to_batches())
    except (pa.ArrowInvalid, pa.ArrowSerializationError) as error:
        raise _damaged(shard, error) from error


def _damaged(shard: Path, error: Exception) -> Failure:
    hint = f"remove {shard.parent.parent} and run again: it will be made anew"
    return Failure(f"{shard} is damaged", found=str(error), hint=hint)


class Counts(NamedTuple):
    """What became of one shard: documents that came and stayed, those left out by reason, and sums of notes."""

    came: int
    kept: int
    dropped: Counter[str]
    notes: Counter[str]


class ShardWriter:
    """Write one shard of an artifact and the list of what was left out of it: both appear when it is finished.

    Files are synced before they are renamed into place, and the counts come last. So a shard whose counts are there is
    whole, even after a power cut (on a file system that keeps the order of renames: ext4, XFS, Btrfs).

    Args:
        folder: the artifact's.
        shard: the shard that is read; the one written has its name.
        schema: of the documents.
    """

    def __init__(self, folder: Path, shard: Path, schema: pa.Schema) -> None:
        self._folder, self._shard, self._schema = folder, shard, schema
        self._counts = Counts(0, 0, Counter(), Counter())
        self._waiting: list[pa.RecordBatch] = []
        self._refused: list[pa.RecordBatch] = []

    def __enter__(self) -> ShardWriter:
        import pyarrow.parquet as pq

        self._temporary = self._folder / SCRATCH / "open" / f"{self._shard.name}.{uuid.uuid4().hex}"
        self._writer = pq.ParquetWriter(self._temporary, self._schema, compression="zstd")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            # A writer that failed on a full disk fails again when it is closed: what counts is the first error.
            try:
                self._writer.close()
            except OSError:
                if kind is None:
                    raise
            finally:
                self._temporary.unlink(missing_ok=True)

    def add(self, batch: pa.RecordBatch) -> None:
        """Take a batch with REASON and NOTES: keep the documents without a reason, list the others, sum the notes."""
        reasons, notes = batch.column(REASON), batch.column(NOTES)
        for note in notes.drop_null().to_pylist():
            self._counts.notes.update(json.loads(note))
        self._counts.dropped.update(reasons.drop_null().to_pylist())
        if reasons.null_count < batch.num_rows:
            self._refused.append(batch.filter(reasons.is_valid()).select(["id", "source", "part", "title", REASON]))
        stays = batch.filter(reasons.is_null()) if reasons.null_count < batch.num_rows else batch
        stays = stays.select(self._schema.names)
        self._counts = self._counts._replace(
            came=self._counts.came + batch.num_rows, kept=self._counts.kept + stays.num_rows
        )
        waiting = [*self._waiting, stays]
        if sum(b.num_rows for b in waiting) > ROWS_PER_BATCH or sum(b.nbytes for b in waiting) > BYTES_PER_GROUP:
            self._flush()
        if stays.num_rows:
            self._waiting.append(stays)

    def _flush(self) -> None:
        import pyarrow as pa

        if self._waiting:
            self._writer.write_table(pa.Table.from_batches(self._waiting, self._schema))
            self._waiting.clear()

    def _finish(self) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self._flush()
        self._writer.close()
        place = self._folder / "documents" / self._shard.name
        synced_rename(self._temporary, place)
        listed = self._folder / "dropped" / self._shard.name
        listed.unlink(missing_ok=True)
        if self._refused:
            pq.write_table(pa.Table.from_batches(self._refused), self._temporary, compression="zstd")
            synced_rename(self._temporary, listed)
        write_json_atomic(
            counts_path(self._folder, self._shard),
            {**self._counts._asdict(), "input": state(self._shard)},
        )


def counts_path(folder: Path, shard: Path) -> Path:
    """Return where the counts of a finished shard are kept until the artifact is."""
    return folder / SCRATCH / "counts" / f"{shard.stem}.json"


def read_counts(folder: Path, shard: Path) -> Counts | None:
    """Return the counts of a shard that an earlier attempt finished from this very input, or None."""
    try:
        found: dict[str, Any] = json.loads(counts_path(folder, shard).read_text())
    except FileNotFoundError:
        return None
    if found["input"] != [*state(shard)] or not (folder / "documents" / shard.name).is_file():
        return None
    return Counts(found["came"], found["kept"], Counter(found["dropped"]), Counter(found["notes"]))


def state(shard: Path) -> State:
    """Return the state of a shard."""
    about = shard.stat()
    return State(about.st_size, about.st_mtime_ns)


def synced_rename(temporary: Path, place: Path) -> None:
    """Give a finished file its name, once it is on the disk."""
    with temporary.open("rb+") as file:
        os.fsync(file.fileno())
    temporary.replace(place)
