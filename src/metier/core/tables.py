"""Rows on disk: Parquet shards, written and read as streams."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from metier.core.errors import Failure

if TYPE_CHECKING:
    import pyarrow as pa

ROWS_PER_SHARD = 50_000
WEIGHT_PER_SHARD = 32_000_000  # characters: a shard is one task of a worker
_ROWS_PER_GROUP = 2_000  # bounds the memory of a reader, whatever the size of the shard
_WEIGHT_PER_GROUP = 8_000_000


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
    weight: Callable[[Mapping[str, Any]], int] | None = None,
) -> int:
    """Write rows as `part-00000.parquet`, … (zstd) in `folder`, replacing what is there, and return how many.

    Memory is bounded by a row group, not by the data.

    Args:
        rows_per_shard: rows in one file at most.
        weight: size of a row in characters, where rows differ much: a row group then ends at 8 million, a file at 32.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = arrow_schema(schema) if isinstance(schema, Mapping) else schema
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("part-*.parquet"):
        old.unlink()
    groups = _groups(rows, min(_ROWS_PER_GROUP, rows_per_shard), weight)
    total, shard = 0, 0
    group = next(groups, None)
    while group is not None or shard == 0:
        written = heavy = 0
        with pq.ParquetWriter(folder / f"part-{shard:05d}.parquet", schema, compression="zstd") as writer:
            while group is not None and written + len(group.rows) <= rows_per_shard and heavy < WEIGHT_PER_SHARD:
                writer.write_table(pa.Table.from_pylist(group.rows, schema=schema))
                written, heavy = written + len(group.rows), heavy + group.weight
                group = next(groups, None)
        total, shard = total + written, shard + 1
    return total


class _Group(NamedTuple):
    rows: list[dict[str, Any]]
    weight: int


def _groups(
    rows: Iterable[Mapping[str, Any]], at_most: int, weight: Callable[[Mapping[str, Any]], int] | None
) -> Iterator[_Group]:
    group, heavy = list[dict[str, Any]](), 0
    for row in rows:
        group.append(dict(row))
        heavy += weight(row) if weight is not None else 0
        if len(group) == at_most or heavy >= _WEIGHT_PER_GROUP:
            yield _Group(group, heavy)
            group, heavy = [], 0
    if group:
        yield _Group(group, heavy)


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
