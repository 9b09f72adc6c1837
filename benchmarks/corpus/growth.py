"""How the time and memory of the whole step `dedup` grow: 50, 100, 200 and 400 MB on one core, then 2 GB on two.

Each size is a run of its own: Parquet in, verdicts out (exact copies, near duplicates, compilations), with imports.
CPU seconds of all processes, and the largest sum of their resident sizes, seen 20 times a second. "Fits a line" is said
in figures: the largest distance of a size from the least-squares line through all, relative to it.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from operator import attrgetter
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks.corpus import material
from benchmarks.corpus.pipeline import Cost, measured, megabytes
from benchmarks.record import Row, save

SIZES = (50.0, 100.0, 200.0, 400.0)
LARGE = 2000.0
_MOST_BYTES = "< 1 GB"


def parts(source: Path, folder: Path) -> list[Path]:
    """Write the first 50, 100, … MB of a corpus as folders of shards, row group by row group, and return them."""
    made = []
    for size in SIZES:
        part = folder / f"{size:.0f}"
        if not (part / "done").is_file():
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(parents=True)
            _copy(source, part, size)
            (part / "done").touch()
        made.append(part)
    return made


def _copy(source: Path, part: Path, size: float) -> None:
    left = size * 1e6
    for shard in sorted(source.glob("part-*.parquet")):
        if left <= 0:
            return
        with pq.ParquetFile(shard) as file, pq.ParquetWriter(part / shard.name, file.schema_arrow) as writer:
            for group in range(file.num_row_groups):
                if left > 0:
                    table = file.read_row_group(group)
                    writer.write_table(table)
                    left -= pc.sum(pc.binary_length(table.column("text"))).as_py() or 0


def cost(source: Path, cores: tuple[int, ...]) -> Cost:
    """Run the search in a process of its own."""
    with tempfile.TemporaryDirectory(dir=material.FOLDER) as scratch:
        return measured([sys.executable, "-m", "benchmarks.corpus.growth", "run", source, scratch], cores)


def run(source: Path, scratch: Path) -> None:
    """Search one corpus, and print how many documents are left out, by reason."""
    from metier.core import Host
    from metier.corpus.dedup.scratch import Settings
    from metier.corpus.dedup.step import find
    from metier.corpus.engine.pool import open_pool

    shards = sorted(source.glob("part-*.parquet"))
    with open_pool(Host.here()) as pool:
        found = find(shards, scratch, Settings(0.9, 5, "minhash", 6, True), "longest", 0.7, pool)
    print(json.dumps({"documents": len(found.reason), "left out": int((found.reason > 0).sum())}))


def main() -> None:
    """Measure all sizes and save the rows."""
    large = material.enlarged(material.FOLDER / "pipeline" / "large", LARGE)
    folders = parts(large, material.FOLDER / "growth")
    cores = sorted(os.sched_getaffinity(0))
    sizes = [megabytes(folder) for folder in folders]
    # The better of two: other programs on the machine can only add to it.
    costs = [min((cost(folder, (cores[-1],)) for _ in range(2)), key=attrgetter("cpu")) for folder in folders]
    made = []
    for size, one in zip(sizes, costs, strict=True):
        left_out, documents = one.answer["left out"], one.answer["documents"]
        peak = f"peak {one.peak_bytes / 1e6:.0f} MB; left out {left_out:,} of {documents:,} documents"
        name = f"dedup growth, {size:.0f} MB on one core"
        made.append(Row(name, None, round(one.cpu, 2), None, None, "CPU s", f"{size:.0f} MB", one.cpu, note=peak))
    slope, start = np.polyfit(sizes, [one.cpu for one in costs], 1)
    line = slope * np.array(sizes) + start
    apart = 100 * float(np.max(np.abs([one.cpu for one in costs] - line) / line))
    name, told = "dedup growth, distance from a line", f"{start:.2f} s + {1000 * slope:.2f} s a GB"
    given = f"{sizes[0]:.0f} to {sizes[-1]:.0f} MB"
    made.append(Row(name, None, round(apart, 1), None, None, "%", given, costs[-1].cpu, "linear", told))
    whole, size, two = cost(large, tuple(cores[-2:])), megabytes(large), len(cores[-2:])
    for taken, given in ((costs[SIZES.index(200.0)], "200 MB on 1 core"), (whole, f"{size:.0f} MB on {two} cores")):
        name, peak_megabytes = "dedup, peak memory of all processes", round(taken.peak_bytes / 1e6, 1)
        made.append(Row(name, None, peak_megabytes, None, None, "MB", given, taken.wall, _MOST_BYTES))
    name, given = "dedup, the whole search from Parquet", f"{size:.0f} MB on {two} cores"
    made.append(Row(name, None, round(size / whole.wall, 1), None, None, "MB/s", given, whole.wall))
    save("corpus", made)


if __name__ == "__main__":
    if sys.argv[1:2] == ["run"]:
        run(Path(sys.argv[2]), Path(sys.argv[3]))
    else:
        main()
