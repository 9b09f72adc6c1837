"""Near-deduplication on one core: texts in memory → groups of near duplicates, beside rensa, datatrove and data-juicer.

Ours is `metier.corpus.dedup.near.near_duplicates`: every pair it calls near was compared exactly. The peers call near
what shares a band (16 of 8 hashes; datatrove 14 of 8) and compare nothing, so they are asked for less. CPU seconds, the
process already started and modules loaded, pinned to one core; ours is the best of several runs, theirs a single one,
since they take minutes. Slow peers get a part of the corpus, and ours is timed on the very same part.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks.corpus import material
from benchmarks.peers import NotInstalled, ask, peer, version
from benchmarks.record import Row, save, versus
from metier.corpus.dedup.near import near_duplicates
from metier.corpus.kernel import compiled

NAME = "near-dedup, text → verified groups, one core"
THRESHOLD = 0.8
_ROUNDS = 5
_SCRIPT = Path(__file__).parent / "peer_scripts" / "near.py"
# What each is given in MB, what its distribution is called, and how many times faster ours must be.
PEERS = {
    "rensa": (60.0, "rensa", 10),
    "datatrove": (6.0, "datatrove", 100),
    "data-juicer": (12.0, "py-data-juicer", 100),
}


def timed(column: pa.Array, threshold: float) -> tuple[float, int]:
    """Return the CPU seconds of our best round, and how many near duplicates there are."""
    best, found = float("inf"), 0
    for _ in range(_ROUNDS):
        start = time.process_time()
        found = len(near_duplicates(column, threshold).numbers)
        best = min(best, time.process_time() - start)
    return best, found


def megabytes(column: pa.Array) -> float:
    """Return the UTF-8 text of a column."""
    return float(pc.sum(pc.binary_length(column)).as_py()) / 1e6


def whole() -> list[Row]:
    """Return the rates on the whole corpus at the two thresholds, and those of each instruction set."""
    texts = material.texts(1e9)
    column = pa.array(texts, pa.large_string())
    size, rows = megabytes(column), []
    given = f"{size:.0f} MB, {len(texts):,} documents in five languages, one in five a planted copy"
    for threshold in (0.8, 0.9):
        seconds, found = timed(column, threshold)
        note = f"{found:,} near duplicates"
        rows.append(
            Row(
                f"{NAME}, J ≥ {threshold}",
                None,
                round(size / seconds, 1),
                None,
                None,
                "MB/s",
                given,
                seconds,
                None,
                note,
            )
        )
    kernel = compiled("_shingle")
    usual = kernel.use() if kernel is not None else "python"
    for path in ("portable", "avx2"):
        if kernel is None or path == usual:
            continue
        try:
            kernel.use(path)
        except ValueError:
            continue
        seconds, _ = timed(column, THRESHOLD)
        rows.append(
            Row(f"{NAME}, J ≥ {THRESHOLD}, {path}", None, round(size / seconds, 1), None, None, "MB/s", given, seconds)
        )
        kernel.use(usual)
    return rows


def beside(name: str, core: int) -> Row:
    """Time a peer, and ours on what the peer was given."""
    wanted, distribution, bar = PEERS[name]
    texts = material.texts(wanted)
    column = pa.array(texts, pa.large_string())
    size = megabytes(column)
    given = f"{size:.0f} MB, {len(texts):,} documents"
    seconds, found = timed(column, THRESHOLD)
    ours = size / seconds
    more = {"bar": f"≥ {bar}×"}
    python = peer(name)
    if isinstance(python, NotInstalled):
        return Row(NAME, name, round(ours, 1), None, None, "MB/s", given, seconds, note=python.reason, **more)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "texts.parquet"
        pq.write_table(pa.table({"text": column.cast(pa.string())}), source)
        try:
            answer = ask(python, _SCRIPT, name, source, folder, cores=(core,))
        except subprocess.CalledProcessError as error:
            reason = (error.stderr or "").strip().rpartition("\n")[2]
            return Row(NAME, name, round(ours, 1), None, None, "MB/s", given, seconds, note=reason, **more)
    note = f"{found:,} near duplicates verified; the peer calls {answer['duplicates']:,} so"
    return versus(
        NAME, name, ours, size / answer["seconds"], "MB/s", given, seconds,
        note=note, peer_version=version(name, distribution), **more,
    )  # fmt: skip


def main() -> None:
    """Run all and save the rows."""
    core = max(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {core})
    save("corpus", whole())
    for name in PEERS:
        save("corpus", [beside(name, core)])


if __name__ == "__main__":
    main()
