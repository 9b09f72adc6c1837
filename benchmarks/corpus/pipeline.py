"""The whole pipeline, from Parquet with a text column to packed token shards, beside datatrove's and data-juicer's.

Ours: read, normalise, the two Gopher sets of rules, near-deduplication with exact verification, tokenise and pack.
datatrove: read, its two Gopher filters with the same thresholds, MinHash deduplication (candidates are taken for
duplicates), tokenise. data-juicer: read, white space, the filters of its own that come nearest, MinHash deduplication,
write; it neither tokenises nor packs. Stop words and short documents are let through, since most of this text is
reference manuals in several languages, of which Gopher's defaults leave one document in twenty.

Time is that of the whole run, programs' start and imports included: CPU seconds of all processes on one core, and wall
time on two. Memory is the largest sum of the resident sizes of all processes, seen 20 times a second.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from benchmarks.corpus import material
from benchmarks.peers import NotInstalled, peer, version
from benchmarks.record import Row, save, versus
from metier.core.tables import write_rows
from metier.core.types import Document, Documents

_SCRIPTS = Path(__file__).parent / "peer_scripts"
_SAMPLE_MEGABYTES = 40.0
_SAMPLE_FILES = 4
_LARGE_MEGABYTES = 2000.0
_LOOK_SECONDS = 0.05


class Cost(NamedTuple):
    """What a run took: wall and CPU seconds and peak bytes of all its processes, and what its last line said."""

    wall: float
    cpu: float
    peak_bytes: int
    answer: dict[str, Any]


def measured(command: Sequence[str | Path], cores: Sequence[int]) -> Cost:
    """Run a program on the given cores, and return what it and its children took. Raises RuntimeError if it fails."""
    threads = str(len(cores))
    names = ("OMP_NUM_THREADS", "RAYON_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    environment = {**os.environ, **dict.fromkeys(names, threads), "TOKENIZERS_PARALLELISM": "false"}
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as errors:
        before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        line = ["taskset", "-c", ",".join(map(str, cores)), *map(str, command)]
        process = psutil.Popen(line, stdout=out, stderr=errors, env=environment)
        peak = 0
        while process.poll() is None:
            peak = max(peak, _resident(process))
            time.sleep(_LOOK_SECONDS)
        wall, after = time.monotonic() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
        for file in (out, errors):
            file.seek(0)
        if process.returncode:
            raise RuntimeError(f"{line[4:6]} failed: {errors.read()[-2000:]}")
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return Cost(wall, cpu, peak, json.loads(out.read().strip().splitlines()[-1]))


def _resident(process: psutil.Process) -> int:
    total = 0
    for one in [process, *process.children(recursive=True)]:
        try:
            total += one.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total


def ours(source: Path, folder: Path, cores: Sequence[int]) -> Cost:
    """Run our pipeline in an empty workshop, the base model apart."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    made = _model()
    (folder / made.name).symlink_to(made, target_is_directory=True)
    return measured([sys.executable, "-m", "benchmarks.corpus.pipeline", "ours", source, folder], cores)


def run_ours(source: Path, folder: Path) -> None:
    """Make the packed shards, and print how many documents and tokens came out."""
    from metier.core import LocalPath, Workshop
    from metier.corpus import Dedup, Filter, Normalise, Pack, Read
    from metier.corpus.rules.gopher import GopherQuality

    loose = GopherQuality(min_words=20, min_lettered_words=0.4, min_stop_words=None)
    read = Read(folder=LocalPath(source))
    clean = Normalise(corpus=read)
    good = Filter(corpus=clean, rules=("gopher-repetition", "gopher-quality"), gopher_quality=loose)
    unique = Dedup(corpus=good, threshold=0.8, compilation=None)
    packed = Workshop(folder).make(Pack(corpus=unique, model=_model_step(), unsplit=True))
    line = packed.record.ledger.lines[-1]
    print(json.dumps({"documents": line.kept, "tokens": line.made["token"]}))


def _model_step() -> Any:
    from metier.models.packaged import PackagedGguf

    return PackagedGguf()


def _model() -> Path:
    """Return the base model's artifact, made once; only its tokenizer is used."""
    from metier.core import Workshop

    made: Path = Workshop(material.FOLDER / "pipeline" / "model").make(_model_step()).folder
    return made.absolute()


def sample() -> Path:
    """Write 40 MB of the corpus as four files, so that two processes can share the work in any library."""
    folder = material.FOLDER / "pipeline" / "sample"
    if not list(folder.glob("*.parquet")):
        texts = material.texts(_SAMPLE_MEGABYTES)
        rows = (Document(f"{number:06d}", text, f"{number}.txt")._asdict() for number, text in enumerate(texts))
        write_rows(folder, rows, Documents.columns, rows_per_shard=-(-len(texts) // _SAMPLE_FILES))
    return folder


def megabytes(folder: Path) -> float:
    """Return the UTF-8 text of all shards, in MB."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    size = 0
    for shard in sorted(folder.glob("*.parquet")):
        with pq.ParquetFile(shard) as file:
            for group in range(file.num_row_groups):
                size += pc.sum(pc.binary_length(file.read_row_group(group, ["text"]).column(0))).as_py() or 0
    return size / 1e6


def beside_peers(scratch: Path) -> None:
    """Measure all on the sample, on one core and on two."""
    source = sample()
    size = megabytes(source)
    told = f"{size:.0f} MB of Debian documentation in {_SAMPLE_FILES} Parquet files"
    tokenizer = _model() / "model" / "tokenizer.json"
    for cores in ((1,), (0, 1)):
        mine = ours(source, scratch / "ours", cores)
        name = f"whole pipeline, {'one core' if len(cores) == 1 else 'two cores'}"
        seconds = mine.cpu if len(cores) == 1 else mine.wall
        for library in ("datatrove", "data-juicer"):
            python = peer(library)
            if isinstance(python, NotInstalled):
                save(
                    "corpus",
                    [Row(name, library, size / seconds, None, None, "MB/s", told, seconds, note=python.reason)],
                )
                continue
            out = scratch / library
            shutil.rmtree(out, ignore_errors=True)
            script = _SCRIPTS / f"pipeline_{library.replace('-', '_')}.py"
            theirs = measured([python, script, source, out, tokenizer, str(len(cores))], cores)
            other = theirs.cpu if len(cores) == 1 else theirs.wall
            note = (
                f"documents out: {mine.answer['documents']} and {theirs.answer['documents']}; "
                f"peak memory: {mine.peak_bytes / 1e6:.0f} and {theirs.peak_bytes / 1e6:.0f} MB"
            )
            known = version(library, {"data-juicer": "py-data-juicer"}.get(library))
            rates = size / seconds, size / other
            save("corpus", [versus(name, library, *rates, "MB/s", told, seconds, note=note, peer_version=known)])


def memory(scratch: Path) -> None:
    """Measure ours on 200 MB and on 2 GB, two cores: speed, and that memory does not grow with the input."""
    whole = material.documents()
    large = material.enlarged(material.FOLDER / "pipeline" / "large", _LARGE_MEGABYTES)
    for source in (whole, large):
        size = megabytes(source)
        cost = ours(source, scratch / "ours", (0, 1))
        told = f"{size:.0f} MB of Debian documentation"
        note = f"{cost.answer['documents']} documents and {cost.answer['tokens']} tokens out, two cores"
        peak, rate = round(cost.peak_bytes / 1e6), round(size / cost.wall, 2)
        bar = "< 1000"
        save("corpus", [Row("whole pipeline, peak memory", None, peak, None, None, "MB", told, cost.wall, bar, note)])
        save("corpus", [Row("whole pipeline, two cores", None, rate, None, None, "MB/s", told, cost.wall, note=note)])


def main() -> None:
    """Run both."""
    with tempfile.TemporaryDirectory(dir=material.FOLDER, prefix="pipeline-") as folder:
        beside_peers(Path(folder))
        memory(Path(folder))


if __name__ == "__main__":
    if sys.argv[1:2] == ["ours"]:
        run_ours(Path(sys.argv[2]), Path(sys.argv[3]))
    else:
        main()
