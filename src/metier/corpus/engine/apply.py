"""Apply one operator to all documents of an artifact, on all cores or on a cluster, whatever happens on the way.

- **Order and bytes.** One shard comes of each shard, in its order. Batches are those of the input, so the result is the
  same to the byte whatever the number of workers, wherever they are, and however often the work was interrupted.
- **Resumption.** A shard is written under another name, synced, renamed, and then counted; an attempt after `kill -9`
  begins at the first shard without counts. See `ShardWriter` for what survives a power cut.
- **Documents that an operator cannot bear.** If it raises, crashes, or takes longer than `seconds` over one document,
  that document is listed in `dropped/` with the reason, and no other is lost. A crash or a hang is laid to a document
  only if it happened twice, on that document alone, in fresh workers. The traceback is in `events.jsonl`.
- **A full disk** ends the step with a message; what is finished stays, and the next attempt goes on from there.
- **Memory.** A worker holds one batch of its shard (8 MB of text or 2,000 documents, or one document that is larger),
  what the operator makes of it, and a row group that is being written.

A corpus of less than a megabyte is done in this process, which is quicker than starting another. There nothing protects
against a crash or a hang, but the attempt after one uses workers, and so finds the culprit.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

from metier.core import Work
from metier.core.progress import Bar
from metier.core.types import Documents
from metier.corpus.engine.culprits import Culprits
from metier.corpus.engine.operators import Operator
from metier.corpus.engine.piece import Done, Pass, Piece, assemble, at_fault, rows_under_way
from metier.corpus.engine.pool import Lost, Pool, open_pool
from metier.corpus.engine.shards import SCRATCH, read_counts, spans, state

_SMALL_BYTES = 1_000_000
_ENOUGH = 4  # pieces a worker, so that all end at about the same time
_FOLDERS = ("counts", "pieces", "at", "stuck", "open")


class Totals(NamedTuple):
    """What an operator did: documents that came and stayed, those left out by reason, and the sums of its notes."""

    came: int
    kept: int
    dropped: Counter[str]
    notes: Counter[str]


def apply(work: Work, documents: Documents, operator: Operator, what: str, *, seconds: float = 60.0) -> Totals:
    """Write what `operator` leaves of `documents` into the artifact being made.

    `dropped/` lists what was left out: id, source, part, title and reason.

    Args:
        what: the work, for the screen ("filtering").
        seconds: how long the operator may take over one document.

    Raises:
        Failure: a shard is damaged, or the operator fails on documents in general.
        Problem: what the operator raised as one, or a full disk.
    """
    run = _Run(work, [shard.absolute() for shard in documents.shards], operator, seconds)
    with work.progress(what, documents.record.ledger.made("document"), "documents") as bar:
        totals = run.finish(bar)
    failed = {reason: n for reason, n in totals.dropped.items() if reason.startswith("operator ")}
    if totals.came and sum(failed.values()) == totals.came:
        shutil.rmtree(run.scratch)  # nothing to go on from once the operator is mended
        raise at_fault(operator, ", ".join(f"{reason}: {n}" for reason, n in failed.items()), None)
    return totals


class _Run:
    """One apply under way."""

    def __init__(self, work: Work, shards: list[Path], operator: Operator, seconds: float) -> None:
        self._work, self._folder, self._shards = work, work.folder.absolute(), shards
        self._operator, self._seconds = operator, seconds
        self.scratch = self._folder / SCRATCH
        self._done = self._shown = 0

    def finish(self, bar: Bar) -> Totals:
        """Do what earlier attempts left to do, and return the totals of all."""
        died_before = self._prepare()
        todo = [shard for shard in self._shards if read_counts(self._folder, shard) is None]
        self._done = self._shown = self._totals().came
        bar.resume_at(self._done)
        if todo and (died_before or sum(shard.stat().st_size for shard in todo) >= _SMALL_BYTES):
            try:
                with open_pool(self._work.host, self._work) as pool:
                    self._by_workers(pool, todo, bar)
            finally:
                # What was being written when it ended: a full disk needs the space.
                shutil.rmtree(self.scratch / "open", ignore_errors=True)
        else:
            function = Pass(self._operator, None)
            for shard in todo:
                piece = Piece(self._folder, shard, state(shard), 0, spans(shard), whole=True)
                self._take(function(piece))
                self._show(bar)
        return self._totals()

    def _prepare(self) -> bool:
        """Make the folders, remove what is not finished, and return whether an earlier attempt died at work."""
        died_before = any((self.scratch / "at").glob("*"))
        for unfinished in ("at", "stuck", "open"):
            shutil.rmtree(self.scratch / unfinished, ignore_errors=True)
        for folder in ("documents", "dropped", *(f"{SCRATCH}/{name}" for name in _FOLDERS)):
            (self._folder / folder).mkdir(parents=True, exist_ok=True)
        names = {shard.name for shard in self._shards}
        for old in [*self._folder.glob("documents/part-*"), *self._folder.glob("dropped/part-*")]:
            if old.name not in names:
                old.unlink()
        return died_before

    def _by_workers(self, pool: Pool, todo: list[Path], bar: Bar) -> None:
        culprits = Culprits(self._work, self._operator)
        pieces = list(self._cut(todo, pool.workers))
        parts = {piece.name: piece for piece in pieces if not piece.whole}
        while pieces:
            pieces = [piece for piece in pieces if piece.whole or not piece.file.exists()]
            again: list[Piece] = []
            for piece, lost in self._lost_of(pool, pieces, bar):
                parts.pop(piece.name, None)
                instead = culprits.next_try(piece, lost)
                parts |= {other.name: other for other in instead if not other.whole}
                again += instead
            pieces = again
        order = sorted(parts.values(), key=attrgetter("shard", "first"))
        groups = [list(group) for _, group in groupby(order, key=attrgetter("shard"))]
        for group in pool.every(assemble, groups, what="putting shards together"):
            for piece in group:
                piece.file.unlink(missing_ok=True)

    def _cut(self, shards: list[Path], workers: int) -> Iterator[Piece]:
        """Yield one piece a shard, or several where there are too few shards to keep the workers busy."""
        pieces = 1 if workers == 1 or len(shards) >= _ENOUGH * workers else -(-_ENOUGH * workers // len(shards))
        for shard in shards:
            batches = spans(shard)
            step = max(1, -(-len(batches) // pieces))
            whole = step >= len(batches)
            for first in range(0, max(1, len(batches)), step):
                yield Piece(self._folder, shard, state(shard), first, batches[first : first + step], whole)

    def _lost_of(self, pool: Pool, pieces: list[Piece], bar: Bar) -> Iterator[tuple[Piece, Lost]]:
        """Do each piece and yield those that were lost, when all the others are done."""
        lost = []
        function = Pass(self._operator, self._seconds)
        results = pool.map(function, pieces, retry=False, isolated=True, meanwhile=lambda: self._show(bar))
        with closing(results):
            for piece, result in zip(pieces, results, strict=True):
                if isinstance(result, Lost):
                    lost.append((piece, result))
                else:
                    self._take(result)
        self._show(bar)
        yield from lost

    def _take(self, done: Done) -> None:
        self._done += done.came
        for told in done.objections:
            self._work.event("left out", id=told.id, reason=told.reason, detail=told.detail)

    def _show(self, bar: Bar) -> None:
        now = self._done + rows_under_way(self._folder)
        if now > self._shown:
            bar.advance(now - self._shown)
            self._shown = now

    def _totals(self) -> Totals:
        """Return the sums over the finished shards, reasons in alphabetical order."""
        totals = Totals(0, 0, Counter(), Counter())
        for shard in self._shards:
            counts = read_counts(self._folder, shard)
            if counts is not None:
                totals = totals._replace(came=totals.came + counts.came, kept=totals.kept + counts.kept)
                totals.dropped.update(counts.dropped)
                totals.notes.update(counts.notes)
        return totals._replace(dropped=_sorted(totals.dropped), notes=_sorted(totals.notes))


def _sorted(counts: Counter[str]) -> Counter[str]:
    return Counter(dict(sorted(counts.items())))
