"""Rows on disk: Parquet shards, written and read as streams."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metier.core.errors import Failure

if TYPE_CHECKING:
    import pyarrow as pa

ROWS_PER_SHARD = 50_000
_ROWS_PER_GROUP = 2_000  # bounds the memory of a reader, whatever the size of the shard


def arrow_schema(columns: Mapping[str, str]) -> pa.Schema:
    """Return the Arrow schema of `columns`, whose types are "string", "int", "float", "bool" or "messages"."""
    import pyarrow as pa

    types = {
        "string": pa.string(),
        "int": pa.int64(),
        "float": pa.float64(),
        "bool": pa.bool_(),
        "messages": pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())])),
    }
    return pa.schema([(name, types[kind]) for name, kind in columns.items()])


def write_rows(
    folder: Path,
    rows: Iterable[Mapping[str, Any]],
    schema: pa.Schema | Mapping[str, str],
    rows_per_shard: int = ROWS_PER_SHARD,
) -> int:
    """Write rows as `part-00000.parquet`, … (zstd) in `folder`, replacing what is there, and return how many.

    Memory is bounded by a row group, not by the data.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = arrow_schema(schema) if isinstance(schema, Mapping) else schema
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("part-*.parquet"):
        old.unlink()
    stream, total, shard = iter(rows), 0, 0
    while (group := list(islice(stream, min(_ROWS_PER_GROUP, rows_per_shard)))) or shard == 0:
        written = 0
        with pq.ParquetWriter(folder / f"part-{shard:05d}.parquet", schema, compression="zstd") as writer:
            while group:
                writer.write_table(pa.Table.from_pylist([dict(row) for row in group], schema=schema))
                written += len(group)
                group = list(islice(stream, min(_ROWS_PER_GROUP, rows_per_shard - written)))
        total, shard = total + written, shard + 1
    return total


def read_rows(folder: Path, columns: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
    """Yield the rows written by `write_rows`, in order, a row group in memory at a time. Raises Failure if none are."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    shards = sorted(folder.glob("part-*.parquet"))
    if not shards:
        raise Failure(f"there are no rows in {folder}", hint="run `metier run` to make them")
    for shard in shards:
        try:
            with pq.ParquetFile(shard) as file:
                for batch in file.iter_batches(_ROWS_PER_GROUP, columns=list(columns) if columns else None):
                    yield from batch.to_pylist()
        except pa.ArrowInvalid as error:
            raise Failure(
                f"{shard} is damaged", found=str(error), hint=f"remove {folder.parent} and run again"
            ) from error
