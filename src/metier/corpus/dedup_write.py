"""Write what deduplication leaves, shard by shard, and the list of what it leaves out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from metier.corpus.engine.shards import SCRATCH, ShardWriter, read_batches, read_counts, spans

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from metier.core.progress import Bar
    from metier.corpus.dedup import Verdicts
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
    """Write one line of JSON for each document left out: id and source, the reason, the stand-in, and how similar."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = [pq.read_table(shard, columns=["id", "source"]) for shard in shards]
    ids = pa.chunked_array([chunk for table in names for chunk in table.column("id").chunks], pa.string())
    sources = pa.chunked_array([chunk for table in names for chunk in table.column("source").chunks], pa.string())
    gone = np.flatnonzero(verdicts.reason)
    with path.open("w", encoding="utf-8") as out:
        for start in range(0, len(gone), 10_000):
            some = gone[start : start + 10_000]
            instead = verdicts.stands_in[some]
            stand_ins = ids.take(pa.array(instead, mask=instead < 0)).to_pylist()
            columns = (
                ids.take(some).to_pylist(), sources.take(some).to_pylist(), verdicts.reason[some].tolist(),
                stand_ins, verdicts.similarity[some].tolist(),
            )  # fmt: skip
            for id, source, reason, stand_in, similarity in zip(*columns, strict=True):
                told = {"id": id, "source": source, "reason": reasons[reason], "stands_in": stand_in}
                out.write(json.dumps({**told, "similarity": round(similarity, 4)}, ensure_ascii=False) + "\n")
