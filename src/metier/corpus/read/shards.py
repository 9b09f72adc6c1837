"""Documents written as shards: row groups of at most 8 MB, files of at most 32 MB, or 50,000 rows."""

from __future__ import annotations

import os
from array import array
from pathlib import Path
from typing import NamedTuple

from metier.core import tables
from metier.core.types import Documents
from metier.corpus.read.wire import Row

_ROWS_PER_GROUP, _BYTES_PER_GROUP = 2_000, 8_000_000
# Columns that repeat; of the others a dictionary would only cost time.
_REPEATING = ["source", "title", "language", "media_type", "part", "license", "split", "channel"]


class Shard(NamedTuple):
    """A finished shard: its file's name, its rows, and the bytes of the file."""

    name: str
    rows: int
    bytes: int


class ShardWriter:
    """Write one shard. A document goes into a row group as it comes; where groups end depends on nothing else.

    Args:
        path: the file, which is there only when the shard is whole.
    """

    def __init__(self, path: Path) -> None:
        import pyarrow.parquet as pq

        self._path, self._temporary = path, path.with_name(f".{path.name}.tmp")
        self._schema = tables.arrow_schema(Documents.columns)
        self._writer = pq.ParquetWriter(
            self._temporary, self._schema, compression="zstd", use_dictionary=_REPEATING, write_statistics=_REPEATING
        )
        self._rows: list[Row] = []
        self._texts: list[memoryview] = []
        self._pending = self.total = self.count = 0

    def fits(self, size: int) -> bool:
        """Say whether a document of `size` bytes still goes into this shard; into an empty one any does."""
        return not self.count or (self.total + size <= tables.WEIGHT_PER_SHARD and self.count < tables.ROWS_PER_SHARD)

    def add(self, row: Row, text: memoryview) -> None:
        """Add a document, its text as UTF-8."""
        if self._rows and (len(self._rows) == _ROWS_PER_GROUP or self._pending + row.size > _BYTES_PER_GROUP):
            self._flush()
        self._rows.append(row)
        self._texts.append(text)
        self._pending += row.size
        self.total += row.size
        self.count += 1

    def close(self) -> Shard:
        """Finish the shard: it is whole on the disk when this returns."""
        self._flush()
        self._writer.close()
        with self._temporary.open("rb") as stream:
            os.fsync(stream.fileno())
        self._temporary.replace(self._path)
        return Shard(self._path.name, self.count, self._path.stat().st_size)

    def abandon(self) -> None:
        """Leave the shard unfinished."""
        self._rows.clear()
        self._texts.clear()
        self._writer.close()
        self._temporary.unlink(missing_ok=True)

    def _flush(self) -> None:
        import pyarrow as pa

        if not self._rows:
            return
        columns = []
        for name in self._schema.names:
            if name == "text":
                columns.append(_strings(self._texts))
            elif name in Row._fields:
                columns.append(pa.array([getattr(row, name) for row in self._rows], pa.string()))
            else:
                columns.append(pa.nulls(len(self._rows), pa.string()))
        table = pa.Table.from_arrays(columns, schema=self._schema)
        self._writer.write_table(table, row_group_size=len(self._rows))
        self._rows, self._texts, self._pending = [], [], 0


def _strings(texts: list[memoryview]) -> object:
    """Return UTF-8 texts as an Arrow column, without a detour over strings. Raises ArrowInvalid if they are none."""
    import pyarrow as pa

    offsets = array("i", [0])
    for text in texts:
        offsets.append(offsets[-1] + len(text))
    column = pa.StringArray.from_buffers(len(texts), pa.py_buffer(offsets), pa.py_buffer(b"".join(texts)))
    column.validate(full=True)
    return column
