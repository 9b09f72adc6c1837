"""Write what deduplication leaves, shard by shard, and the list of what it leaves out."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from metier.corpus.engine.shards import SCRATCH, ShardWriter, read_batches, read_counts, spans

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from metier.core.progress import Bar
    from metier.corpus.dedup.step import Verdicts
    from metier.corpus.engine.pool import Pool


class WriteTask(NamedTuple):
    """One shard of an artifact in `folder`, and the place of each document's reason in `reasons`, 0 for what stays."""

    folder: Path
    shard: Path
    verdicts: NDArray[np.uint8]
    reasons: tuple[str | None, ...]


def write_shard(task: WriteTask) -> tuple[int, int]:
    """Write the documents that stay, unless they are there, and return how many came and stayed."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from metier.corpus.engine.operators import NOTES, REASON

    before = read_counts(task.folder, task.shard)
    if before is None:
        at = 0
        with ShardWriter(task.folder, task.shard, pq.read_schema(task.shard)) as writer:
            for batch in read_batches(task.shard, spans(task.shard)):
                mine = task.verdicts[at : at + batch.num_rows].tolist()
                at += batch.num_rows
                batch = batch.append_column(REASON, pa.array([task.reasons[place] for place in mine], pa.string()))
                writer.add(batch.append_column(NOTES, pa.nulls(batch.num_rows, pa.string())))
        before = read_counts(task.folder, task.shard)
        assert before is not None
    return before.came, before.kept


def write_kept(
    folder: Path,
    shards: Sequence[Path],
    verdicts: NDArray[np.uint8],
    reasons: tuple[str | None, ...],
    pool: Pool,
    bar: Bar,
) -> int:
    """Write one shard for each of `shards` into the artifact in `folder`, and return how many documents stayed."""
    import pyarrow.parquet as pq

    for name in ("documents", "dropped", f"{SCRATCH}/open", f"{SCRATCH}/counts"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    tasks, first = list[WriteTask](), 0
    for shard in shards:
        rows = pq.read_metadata(shard).num_rows
        tasks.append(WriteTask(folder, shard, verdicts[first : first + rows], reasons))
        first += rows
    kept = 0
    for came, stayed in pool.every(write_shard, tasks, what="writing documents"):
        bar.advance(came)
        kept += stayed
    return kept


def write_list(path: Path, shards: Sequence[Path], verdicts: Verdicts, reasons: tuple[str | None, ...]) -> None:
    """Write one line of JSON for each document left out: id and source, the reason, the stand-in, and how similar.

    In memory: ids and sources of one shard, and the ids of documents that stand in for others.
    """
    import numpy as np
    import pyarrow.parquet as pq

    kept = np.unique(verdicts.stands_in[verdicts.stands_in >= 0])
    kept_ids = [id for shard, rows in _by_shard(shards, kept) for id in _taken(shard, ["id"], rows)[0]]
    gone = np.flatnonzero(verdicts.reason)
    first = 0
    with path.open("w", encoding="utf-8") as out:
        for shard, rows in _by_shard(shards, gone):
            mine, first = first + rows, first + pq.read_metadata(shard).num_rows
            stands_in = verdicts.stands_in[mine]
            places = np.where(stands_in < 0, -1, np.searchsorted(kept, stands_in)).tolist()
            columns = (
                *_taken(shard, ["id", "source"], rows), verdicts.reason[mine].tolist(), places,
                verdicts.similarity[mine].tolist(),
            )  # fmt: skip
            for id, source, reason, place, similarity in zip(*columns, strict=True):
                stand_in = kept_ids[place] if place >= 0 else None
                told = {"id": id, "source": source, "reason": reasons[reason], "stands_in": stand_in}
                out.write(json.dumps({**told, "similarity": round(similarity, 4)}, ensure_ascii=False) + "\n")


def _by_shard(shards: Sequence[Path], numbers: NDArray[np.int64]) -> Iterator[tuple[Path, NDArray[np.int64]]]:
    """Yield each shard with those of its rows whose documents are in `numbers`, which ascend."""
    import numpy as np
    import pyarrow.parquet as pq

    first = 0
    for shard in shards:
        last = first + pq.read_metadata(shard).num_rows
        yield shard, numbers[np.searchsorted(numbers, first) : np.searchsorted(numbers, last)] - first
        first = last


def _taken(shard: Path, columns: list[str], rows: NDArray[np.int64]) -> list[list[str]]:
    import pyarrow.parquet as pq

    if not len(rows):
        return [[] for _ in columns]
    table = pq.read_table(shard, columns=columns, use_threads=False).take(rows)
    return [table.column(name).to_pylist() for name in columns]
