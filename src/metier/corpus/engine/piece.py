"""What a worker does for `apply`: run the operator on some batches of one shard, leaving a trace of where it is."""

from __future__ import annotations

import faulthandler
import os
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple

from metier.core import Failure
from metier.corpus.engine.judge import Care, Objection, judged
from metier.corpus.engine.operators import Operator
from metier.corpus.engine.shards import SCRATCH, ShardWriter, Span, State, read_batches, synced_rename

if TYPE_CHECKING:
    import pyarrow as pa

_OBJECTIONS_ALLOWED = 100  # and a tenth of the documents: beyond, the operator is at fault and not the documents
_OBJECTIONS_TOLD = 3
_FIRST_CALL = 5  # times the limit: it loads what the operator needs, and nothing is known of how fast that is


class Piece(NamedTuple):
    """Some batches of a shard, from number `first`; of a single one, how to go through it and which rows to leave out.

    `state` is that of the shard, so that an outcome is never taken for that of another input. A `whole` piece is
    written as the finished shard, another as a file that `assemble` puts together with its likes.
    """

    folder: Path
    shard: Path
    state: State
    first: int
    batches: tuple[Span, ...]
    whole: bool
    care: Care = Care.WHOLE
    left_out: Mapping[int, str] = {}

    @property
    def name(self) -> str:
        """What its files are called."""
        return f"{self.shard.stem}.{self.state.size:x}-{self.state.time:x}.{self.first:05d}+{len(self.batches)}"

    @property
    def file(self) -> Path:
        """Where its outcome lies, unless it is whole."""
        return self.folder / SCRATCH / "pieces" / f"{self.name}.arrow"


class Place(NamedTuple):
    """Where a worker died: on which row of its batch, tried alone, or None for the batch as a whole.

    `stuck` is the traceback of a call that took too long, or None.
    """

    row: int | None
    stuck: str | None


class Done(NamedTuple):
    """What a worker says of a finished piece: its documents, and some of those on which the operator raised."""

    came: int
    objections: list[Objection]


@dataclass(frozen=True)
class Pass:
    """Run `operator` on a piece and write what comes of it.

    Args:
        seconds: how long one document may take; None where nothing may end this process.
    """

    operator: Operator
    seconds: float | None

    def __call__(self, piece: Piece) -> Done:
        """Write the outcome of a piece. Raises Failure if the operator fails on a tenth of the documents."""
        came, objections = 0, list[Objection]()
        with _Trace(piece, self.seconds) as trace, _sink(piece) as sink:
            for batch in read_batches(piece.shard, piece.batches):
                guard = partial(trace.guard, came)
                result = judged(self.operator, batch, guard, piece.care, piece.left_out)
                sink.add(result.batch)
                came += batch.num_rows
                objections += result.objections
                if len(objections) > max(_OBJECTIONS_ALLOWED, came // 10):
                    raise at_fault(self.operator, f"{len(objections)} of {came} documents", objections[0])
            trace.mark(came, None)
        trace.remove()
        return Done(came, objections[:_OBJECTIONS_TOLD])


def at_fault(operator: Operator, found: str, example: Objection | None) -> Failure:
    """Return the Failure of an operator that does not bear documents in general."""
    last_line = example.detail.strip().rpartition("\n")[2] if example else ""
    return Failure(
        f"{type(operator).__name__} fails on document after document",
        found=f"{found}; {last_line}" if last_line else found,
        hint="mend the operator or its settings; what is finished is kept",
    )


class _Trace:
    """The files that say where a worker is: `at/NAME` holds "rows done, row", `stuck/NAME` the last words of a call."""

    def __init__(self, piece: Piece, seconds: float | None) -> None:
        self._at, self._stuck = _trace_files(piece)
        self._seconds = seconds
        self._took = 0.0
        self._bytes = self._rows = 0

    def __enter__(self) -> _Trace:
        self._file = os.open(self._at, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        self._words: IO[bytes] = self._stuck.open("wb")
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._file)
        self._words.close()

    def remove(self) -> None:
        self._at.unlink(missing_ok=True)
        self._stuck.unlink(missing_ok=True)

    def mark(self, done: int, row: int | None) -> None:
        os.pwrite(self._file, f"{done} {'' if row is None else row}".ljust(32).encode(), 0)

    @contextmanager
    def guard(self, done: int, row: int | None, batch: pa.RecordBatch) -> Iterator[None]:
        """Note where the worker is, and end the process with a traceback if the block takes too long."""
        self.mark(done, row)
        start = time.monotonic()
        if self._seconds is not None:
            # Its thread needs no interpreter: it ends a call inside C code that never lets go of it.
            faulthandler.dump_traceback_later(self._allowed(row, batch), exit=True, file=self._words)
        try:
            yield
        finally:
            if self._seconds is not None:
                faulthandler.cancel_dump_traceback_later()
        self._took += time.monotonic() - start
        self._bytes, self._rows = self._bytes + batch.nbytes, self._rows + batch.num_rows

    def _allowed(self, row: int | None, batch: pa.RecordBatch) -> float:
        """Return how long a call may take: one document `seconds`, a batch ten times more than earlier calls suggest.

        A batch that is stopped too early only costs time: its documents are then tried one at a time.
        """
        assert self._seconds is not None
        if not self._rows:
            return _FIRST_CALL * self._seconds
        if row is not None:
            return self._seconds
        share: float = max(batch.nbytes / max(self._bytes, 1), batch.num_rows / self._rows)
        return self._seconds + 10 * self._took * share


def _trace_files(piece: Piece) -> tuple[Path, Path]:
    scratch = piece.folder / SCRATCH
    return scratch / "at" / piece.name, scratch / "stuck" / piece.name


def place(piece: Piece) -> Place | None:
    """Return where the worker of a piece died, or None if it showed the operator nothing. Removes the trace."""
    at, stuck = _trace_files(piece)
    words = stuck.read_text(errors="replace") if stuck.is_file() else ""
    done, row = _read_mark(at)
    at.unlink(missing_ok=True)
    stuck.unlink(missing_ok=True)
    return Place(row, words or None) if done is not None else None


def rows_under_way(folder: Path) -> int:
    """Return how many documents the workers have done of the pieces that are not finished."""
    return sum(_read_mark(at)[0] or 0 for at in (folder / SCRATCH / "at").glob("*"))


def _read_mark(at: Path) -> tuple[int | None, int | None]:
    try:
        done, _, row = at.read_text().strip().partition(" ")
        return int(done), int(row) if row else None
    except (FileNotFoundError, ValueError):
        return None, None  # it has just begun, or just ended


def _sink(piece: Piece) -> ShardWriter | _PieceWriter:
    if piece.whole:
        import pyarrow.parquet as pq

        return ShardWriter(piece.folder, piece.shard, pq.read_schema(piece.shard))
    return _PieceWriter(piece)


class _PieceWriter:
    """Writes batches as they are, in Arrow's own format; the file appears when it is whole."""

    def __init__(self, piece: Piece) -> None:
        self._piece = piece
        self._temporary = piece.folder / SCRATCH / "open" / f"{piece.name}.{uuid.uuid4().hex}"
        self._closing = ExitStack()
        self._writer: pa.ipc.RecordBatchFileWriter | None = None

    def __enter__(self) -> _PieceWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            self._closing.close()
            if kind is None:
                synced_rename(self._temporary, self._piece.file)
        finally:
            self._temporary.unlink(missing_ok=True)

    def add(self, batch: pa.RecordBatch) -> None:
        import pyarrow as pa

        if self._writer is None:
            out = self._closing.enter_context(pa.OSFile(str(self._temporary), "wb"))
            self._writer = self._closing.enter_context(pa.ipc.new_file(out, batch.schema))
        self._writer.write_batch(batch)


def assemble(pieces: list[Piece]) -> list[Piece]:
    """Write a shard from its pieces, as if it had been written whole, and return them. They stay."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder, shard = pieces[0].folder, pieces[0].shard
    with ShardWriter(folder, shard, pq.read_schema(shard)) as writer:
        for piece in pieces:
            with pa.OSFile(str(piece.file)) as file, pa.ipc.open_file(file) as reader:
                for number in range(reader.num_record_batches):
                    writer.add(reader.get_batch(number))
    return pieces
