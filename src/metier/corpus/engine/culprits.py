"""Find the documents that crash or hang an operator, from the traces of the workers that died."""

from __future__ import annotations

from collections import defaultdict

from metier.core import Failure, Work
from metier.core.artifact import EVENTS
from metier.corpus.engine.judge import CRASHED, NO_MEMORY, TOO_LONG, Care
from metier.corpus.engine.operators import Operator
from metier.corpus.engine.piece import Piece, at_fault, place
from metier.corpus.engine.pool import FAILED, Lost
from metier.corpus.engine.pool import NO_MEMORY as WORKER_NO_MEMORY

_TWICE = 2  # deaths on one document alone before it is left out: the first may have another cause
_POISONOUS_ALLOWED = 20  # documents of one batch: beyond, the operator is at fault
_FRUITLESS_ALLOWED = 3  # deaths in one piece that point to no document


class Culprits:
    """What is known of the deaths of workers, and so how a lost piece is to be gone through next time."""

    def __init__(self, work: Work, operator: Operator) -> None:
        self._work, self._operator = work, operator
        self._deaths: defaultdict[tuple[str, int | None], int] = defaultdict(int)

    def next_try(self, piece: Piece, lost: Lost) -> list[Piece]:
        """Return the pieces that take the place of a lost one.

        A piece of several batches is done again batch by batch. The batch that was lost is then gone through document
        by document; what a worker died on twice is left out.

        Raises:
            Failure: workers die without a trace, or on more documents than can be their fault; or it was no death.
        """
        if lost.reason.startswith(FAILED):
            last_line = (lost.detail or lost.reason).strip().rpartition("\n")[2]
            hint = f"the traceback is in {EVENTS}: please report it"
            raise Failure(f"{piece.shard.name} could not be done", found=last_line, hint=hint)
        where = place(piece)
        if len(piece.batches) > 1 or (piece.whole and piece.batches):
            return [
                piece._replace(first=number, batches=(batch,), whole=False)
                for number, batch in enumerate(piece.batches, piece.first)
            ]
        if where is not None and where.row is not None:
            return [self._struck(piece, where.row, where.stuck, lost)]
        if where is not None and piece.care < Care.SINGLY:
            return [piece._replace(care=Care(piece.care + 1))]
        self._deaths[piece.name, None] += 1
        if self._deaths[piece.name, None] == _FRUITLESS_ALLOWED:
            raise Failure(
                f"{type(self._operator).__name__} does not run: its worker dies whatever it is shown",
                found=lost.reason,
                hint="is there enough memory for one in each worker? METIER_THREADS=1 starts only one",
            )
        return [piece]

    def _struck(self, piece: Piece, row: int, stuck: str | None, lost: Lost) -> Piece:
        self._deaths[piece.name, row] += 1
        if self._deaths[piece.name, row] < _TWICE:
            return piece
        reason = TOO_LONG if stuck else NO_MEMORY if lost.reason == WORKER_NO_MEMORY else CRASHED
        self._work.event("left out", shard=piece.shard.name, batch=piece.first, row=row, reason=reason, detail=stuck)
        left_out = {**piece.left_out, row: reason}
        if len(left_out) > _POISONOUS_ALLOWED:
            raise at_fault(self._operator, f"{len(left_out)} documents of one batch, the last: {reason}", None)
        return piece._replace(left_out=left_out)
