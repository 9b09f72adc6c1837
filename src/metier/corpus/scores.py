"""Give every document a score first, then decide which to leave out: what scores cost is paid once.

    scores = score_all(work, documents, scorer, "scoring")     # scores/part-*.parquet: id, source, part, score, detail
    totals = leave_out(work, documents, scores, choose, "filtering")

The list of scores stays with the artifact, also for what was left out. An attempt after a kill goes on at the first
shard without scores. A document that cannot be scored, be it that the scorer raises or that its process dies, costs
that document and no other: it has no score, and the reason in its place.
"""

from __future__ import annotations

import hashlib
import json
import os
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from metier.core import Problem, Work
from metier.core.types import Documents
from metier.corpus.engine import Totals, apply, objected
from metier.corpus.engine.pool import Lost, Pool, open_pool
from metier.corpus.engine.shards import read_batches, spans

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

SCRATCH = ".scratch-scores"  # the workshop removes `.scratch*` when the artifact is finished
_SMALL_BYTES = 1_000_000
_BATCHES_A_PIECE = 2


class Scored(NamedTuple):
    """A score, or None where there is none to give; and what a person should be told of it, as a JSON value."""

    score: float | None
    detail: Any = None


class Scorer(Protocol):
    """A pure function from documents to scores, sent to workers by pickle; it loads its model when first called."""

    def __call__(self, batch: pa.RecordBatch) -> Sequence[Scored]:
        """Return one score a document, in their order."""
        ...


class Row(NamedTuple):
    """The score of one document. `failed` is why it has none though it should; `key` tells it from all others."""

    key: int
    id: str
    source: str
    part: str
    score: float | None
    detail: Any
    failed: str | None


class Scores:
    """The scores of all documents, in the order of the documents."""

    def __init__(self, folder: Path, shards: Sequence[Path]) -> None:
        self.files = [_file(folder, shard) for shard in shards]

    def rows(self) -> Iterator[Row]:
        """Yield all scores, a row group in memory at a time."""
        import pyarrow.parquet as pq

        for path in self.files:
            with pq.ParquetFile(path) as file:
                for batch in file.iter_batches(5000):
                    for row in batch.to_pylist():
                        row["detail"] = json.loads(row["detail"]) if row["detail"] else None
                        yield Row(**row)

    def values(self) -> NDArray[np.float32]:
        """Return the scores alone, NaN for None. Takes 4 bytes a document."""
        import numpy as np
        import pyarrow.parquet as pq

        read = [pq.read_table(path, columns=["score"]).column("score").to_numpy() for path in self.files]
        return np.concatenate([np.zeros(0, np.float32), *read]).astype(np.float32)


class Piece(NamedTuple):
    """Rows `start` to `stop` of a shard."""

    shard: Path
    start: int
    stop: int


def score_all(
    work: Work,
    documents: Documents,
    scorer: Scorer,
    what: str,
    *,
    workers: int | None = None,
    memory_bytes: int | None = None,
) -> Scores:
    """Score all documents, on all cores or on a cluster, into `scores/`.

    Args:
        what: the work, for the screen ("scoring").
        workers, memory_bytes: of the pool, where they should not be the engine's choice.

    Raises:
        Problem: what the scorer raised as one, or a full disk.
    """
    shards = [shard.absolute() for shard in documents.shards]
    function = ScorePiece(scorer, work.folder.absolute())
    (work.folder / SCRATCH).mkdir(exist_ok=True)
    (work.folder / "scores").mkdir(exist_ok=True)
    todo = {shard: _cut(shard) for shard in shards if not _file(work.folder, shard).is_file()}
    with work.progress(what, documents.record.ledger.made("document"), "documents") as bar:
        bar.resume_at(sum(_rows(shard) for shard in shards if shard not in todo))
        # What a process of our own died on is tried by workers the next time: they find the culprit.
        alone = work.folder / SCRATCH / "alone"
        if sum(shard.stat().st_size for shard in todo) < _SMALL_BYTES and not alone.exists():
            alone.touch()
            for shard, pieces in todo.items():
                bar.advance(sum(map(function, pieces)))
                _assemble(work.folder, shard)
            alone.unlink()
        elif todo:
            with open_pool(work.host, work, workers=workers, memory_bytes=memory_bytes) as pool:
                _by_workers(pool, function, todo, bar.advance)
    return Scores(work.folder, shards)


def leave_out(work: Work, documents: Documents, scores: Scores, why: Callable[[Row], str | None], what: str) -> Totals:
    """Write the documents for which `why` gives no reason, as `apply` does."""
    import numpy as np

    reasons: dict[str, int] = {}
    keys, codes = array("Q"), array("h")
    for row in scores.rows():
        reason = why(row)
        if reason is not None:
            keys.append(row.key)
            codes.append(reasons.setdefault(reason, len(reasons)))
    listed = np.frombuffer(keys, np.uint64) if keys else np.zeros(0, np.uint64)
    order = np.argsort(listed, kind="stable")
    index = work.folder / SCRATCH
    index.mkdir(exist_ok=True)
    np.save(index / "keys.npy", listed[order])
    np.save(index / "codes.npy", np.array(codes, np.int16)[order])
    return apply(work, documents, LeftOut(index.absolute(), tuple(reasons)), what)


@dataclass(frozen=True)
class LeftOut:
    """The operator that leaves out the documents whose keys stand in `keys.npy` of a folder, with the reason."""

    folder: Path
    reasons: tuple[str, ...]

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Object to the documents that are listed."""
        import numpy as np

        listed = np.load(self.folder / "keys.npy", mmap_mode="r")
        if not listed.size:
            return batch
        codes = np.load(self.folder / "codes.npy", mmap_mode="r")
        wanted = np.array(keys(batch), np.uint64)
        places = np.minimum(np.searchsorted(listed, wanted), listed.size - 1)
        reasons = [
            self.reasons[codes[place]] if listed[place] == key else None
            for place, key in zip(places.tolist(), wanted, strict=True)
        ]
        return objected(batch, reasons)


def keys(batch: pa.RecordBatch) -> list[int]:
    """Return a 64-bit key of each document, made from its id and its text's digest."""
    pairs = zip(batch.column("id").to_pylist(), batch.column("digest").to_pylist(), strict=True)
    return [
        int.from_bytes(hashlib.blake2b(f"{id}\0{digest or ''}".encode(), digest_size=8).digest(), "little")
        for id, digest in pairs
    ]


@dataclass(frozen=True)
class ScorePiece:
    """Score one piece of a shard into a file, and return how many documents it has."""

    scorer: Scorer
    folder: Path

    def __call__(self, piece: Piece) -> int:
        """Write the scores of a piece, whole or not at all."""
        rows = [row for batch in _batches(piece) for row in self._scored(batch)]
        write(self.file(piece), rows)
        return len(rows)

    def give_up(self, piece: Piece, reason: str) -> None:
        """Write down why a piece has no scores."""
        batches = _batches(piece)
        write(self.file(piece), [row for one in batches for row in rows_of(one, [Scored(None)] * len(one), reason)])

    def file(self, piece: Piece) -> Path:
        """Return where the scores of a piece lie until those of its shard are put together."""
        return self.folder / SCRATCH / f"{piece.shard.stem}.{piece.start:07d}-{piece.stop:07d}.parquet"

    def _scored(self, batch: pa.RecordBatch) -> Iterator[Row]:
        try:
            found = list(self.scorer(batch))
        except Problem:
            raise
        except Exception as error:
            if batch.num_rows > 1:
                for row in range(batch.num_rows):
                    yield from self._scored(batch.slice(row, 1))
            else:
                yield from rows_of(batch, [Scored(None)], f"could not be scored ({type(error).__name__})")
            return
        yield from rows_of(batch, found, None)


def rows_of(batch: pa.RecordBatch, scored: Iterable[Scored], failed: str | None) -> Iterator[Row]:
    """Yield the rows of a batch and its scores."""
    names = zip(*(batch.column(name).to_pylist() for name in ("id", "source", "part")), strict=True)
    for key, (id, source, part), (score, detail) in zip(keys(batch), names, scored, strict=True):
        yield Row(key, id, source, part or "", score, detail, failed)


def write(path: Path, rows: Iterable[Row]) -> None:
    """Write rows as Parquet, whole or not at all."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    told = [
        row._replace(detail=None if row.detail is None else json.dumps(row.detail, ensure_ascii=False))._asdict()
        for row in rows
    ]
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    pq.write_table(pa.Table.from_pylist(told, _schema()), temporary, compression="zstd")
    temporary.replace(path)


def _schema() -> pa.Schema:
    import pyarrow as pa

    kinds = {"key": pa.uint64(), "score": pa.float32()}
    return pa.schema([(name, kinds.get(name, pa.string())) for name in Row._fields])


def _by_workers(pool: Pool, function: ScorePiece, todo: dict[Path, list[Piece]], done: Callable[[int], None]) -> None:
    """Score the shards; each is put together as soon as its pieces are there, those with a lost piece at the end."""
    wanted = {function.file(piece).name for pieces in todo.values() for piece in pieces}
    for old in (function.folder / SCRATCH).glob("*.parquet"):
        if old.name not in wanted:  # a part of a piece that was lost in an earlier attempt
            old.unlink()
    pieces = [piece for pieces in todo.values() for piece in pieces if not function.file(piece).is_file()]
    lost: list[Piece] = []
    shard = None
    for piece, result in zip(pieces, pool.map(function, pieces, isolated=True), strict=True):
        if shard not in (None, piece.shard) and shard not in {one.shard for one in lost}:
            _assemble(function.folder, shard)
        shard = piece.shard
        if isinstance(result, Lost):
            lost.append(piece)
        else:
            done(result)
    while lost:
        parts = [part for piece in lost for part in _parts(piece)]
        lost = []
        for piece, result in zip(parts, pool.map(function, parts, isolated=True), strict=True):
            if not isinstance(result, Lost):
                done(result)
            elif piece.stop - piece.start > 1:
                lost.append(piece)
            else:
                function.give_up(piece, result.reason)
                done(1)
    for shard in todo:
        if not _file(function.folder, shard).is_file():
            _assemble(function.folder, shard)


def _cut(shard: Path) -> list[Piece]:
    """Return the pieces of a shard: some batches each, the same in every attempt."""
    sizes = [span.rows for span in spans(shard)]
    starts = [sum(sizes[:first]) for first in range(0, len(sizes), _BATCHES_A_PIECE)] or [0]
    return [Piece(shard, *pair) for pair in zip(starts, [*starts[1:], sum(sizes)], strict=True)]


def _parts(piece: Piece) -> Iterator[Piece]:
    """Yield sixteen parts of a piece that was lost, down to single documents: so the one that kills is found."""
    step = max(1, -(-(piece.stop - piece.start) // 16))
    for start in range(piece.start, piece.stop, step):
        yield Piece(piece.shard, start, min(start + step, piece.stop))


def _batches(piece: Piece) -> Iterator[pa.RecordBatch]:
    at = 0
    wanted = []
    for span in spans(piece.shard):
        first, last = max(piece.start, at), min(piece.stop, at + span.rows)
        if first < last:
            wanted.append(span._replace(start=span.start + first - at, rows=last - first))
        at += span.rows
    yield from read_batches(piece.shard, wanted)


def _rows(shard: Path) -> int:
    return sum(span.rows for span in spans(shard))


def _file(folder: Path, shard: Path) -> Path:
    return folder / "scores" / shard.name


def _assemble(folder: Path, shard: Path) -> None:
    """Put the pieces of a shard's scores together, in order."""
    import pyarrow.parquet as pq

    pieces = sorted((folder / SCRATCH).glob(f"{shard.stem}.*.parquet"))
    temporary = folder / SCRATCH / f".{shard.name}.{os.getpid()}"
    with pq.ParquetWriter(temporary, _schema(), compression="zstd") as writer:
        for piece in pieces:
            writer.write_table(pq.read_table(piece))
    temporary.replace(_file(folder, shard))
    for piece in pieces:
        piece.unlink()
