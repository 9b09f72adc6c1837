"""One task of reading: neighbouring files, read in order into shards, and an account of each file and part."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from metier.corpus.read.journal import Counts, Entry, Journal, State
from metier.corpus.read.listing import Listed
from metier.corpus.read.reader import Reader
from metier.corpus.read.shards import ShardWriter
from metier.corpus.read.walk import LEFT_OUT
from metier.corpus.read.wire import DOCUMENT, END, UNREAD, File, Row

PathOf = Callable[[str], str | None]
"""From a file's name in the listing to where it lies on this machine, None if it does not."""

NOTHING = "nothing in it could be read"
_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


def journal_of(folder: Path, number: int) -> Journal:
    """Return what is finished of a task."""
    return Journal(folder / "journal" / f"{number:06d}.jsonl", folder / "shards")


class TaskReading:
    """The reading of one task, going on from what the journal knows of it.

    Args:
        files: the files of the task.
        folder: where shards (`shards/`) and lists of what could not be read (`unread-*.tsv`) are written.
        path_of: where a file lies on this machine; None where only the step can open it.
        limit: items to read at most, or None.
        finished: called for each file that is done.
    """

    def __init__(
        self,
        number: int,
        files: Sequence[Listed],
        folder: Path,
        path_of: PathOf,
        limit: int | None,
        finished: Callable[[], None],
    ) -> None:
        self._number, self._files, self._folder = number, files, folder
        self._path_of, self._limit, self._finished = path_of, limit, finished
        self._journal = journal_of(folder, number)
        entries = self._journal.entries
        self._shards = sum(entry.shard is not None for entry in entries)
        self._state = entries[-1].state.model_copy(deep=True) if entries else State()
        self._items = sum(entry.counts.parts for entry in entries)
        self._counts = Counts()
        self._writer: ShardWriter | None = None
        self._log_path = folder / f"unread-{number:06d}.tsv"
        self._log_bytes = entries[-1].log if entries else 0

    def run(self, reader: Reader) -> None:
        """Read what is left of the task. Raises whatever the reader does; what is in the journal then stays done."""
        self._log_path.touch()
        os.truncate(self._log_path, self._log_bytes)
        try:
            with self._log_path.open("ab") as self._log:
                start = self._state.file
                wanted = [self._file(at) for at in range(start, len(self._files)) if self._files[at].reason is None]
                first = wanted[0].number if wanted else None
                for row, text in reader.read(wanted, self._state.after if first == start else None):
                    self._take(row, text)
                    if self._limit is not None and self._items >= self._limit:
                        reader.end()
                        self._end_file()
                        break
                else:
                    self._pass_over(len(self._files))
                self._commit(end=True)
        finally:
            if self._writer is not None:
                self._writer.abandon()

    def _file(self, at: int) -> File:
        listed = self._files[at]
        return File(at, listed.name, self._path_of(listed.name), listed.size, listed.license)

    def _take(self, row: Row, text: memoryview) -> None:
        self._pass_over(row.file)
        if row.kind == END:
            self._end_file()
            return
        if row.kind == DOCUMENT:
            if self._writer is not None and not self._writer.fits(row.size):
                self._commit()
            if self._writer is None:
                name = f"t{self._number:06d}-{self._shards:04d}.parquet"
                self._writer = ShardWriter(self._folder / "shards" / name)
            self._writer.add(row, text)
            self._state.documents += 1
            self._counts.documents += 1
            self._counts.text_bytes += row.size
            self._counts.kinds[row.media_type or ""] += 1
        self._account(row)
        self._state.after = row.cursor

    def _account(self, row: Row) -> None:
        """Count an item: a part of a file, or the whole of it."""
        name = self._files[row.file].name.encode("utf-8", "replace").decode()
        is_part = bool(row.part) or row.source != name
        if row.kind == UNREAD:
            reason = row.reason or ""
            (self._state.reasons if is_part else self._state.whole)[reason] += 1
            if reason != LEFT_OUT:
                self._tell(row.source, reason, row.part, row.detail or "")
        if is_part:
            self._items += 1
            self._counts.parts += 1
            if row.kind == UNREAD:
                self._counts.parts_dropped[row.reason or ""] += 1
            else:
                self._counts.parts_kept += 1

    def _end_file(self) -> None:
        """Count the present file as kept or dropped, and go on to the next."""
        state, counts = self._state, self._counts
        counts.files += 1
        if state.documents:
            counts.kept += 1
            # It broke off, or a part that has no name gave nothing.
            counts.parts += state.whole.total()
            counts.parts_dropped += state.whole
        else:
            reasons = state.whole or state.reasons
            reason = next(iter(reasons)) if len(reasons) == 1 else NOTHING
            counts.dropped[reason] += 1
            if not reasons:
                self._tell(self._files[state.file].name, NOTHING)
        self._state = State(file=state.file + 1)
        self._finished()

    def _pass_over(self, upto: int) -> None:
        """Count the files before `upto` that are not even opened."""
        while self._state.file < upto:
            listed = self._files[self._state.file]
            assert listed.reason is not None, listed
            self._counts.files += 1
            self._counts.dropped[listed.reason] += 1
            if listed.reason != LEFT_OUT:
                self._tell(listed.name, listed.reason)
            self._state = State(file=self._state.file + 1)
            self._finished()

    def _tell(self, source: str, reason: str, part: str = "", detail: str = "") -> None:
        line = "\t".join(field.translate(_ESCAPES) for field in (source, reason, part, detail))
        self._log_bytes += self._log.write(line.encode("utf-8", "backslashreplace") + b"\n")

    def _commit(self, end: bool = False) -> None:
        """Finish the shard and write down how far the task is."""
        shard = self._writer.close() if self._writer is not None else None
        self._writer = None
        self._log.flush()
        os.fsync(self._log.fileno())
        entry = Entry(
            shard=shard.name if shard is not None else None,
            bytes=shard.bytes if shard is not None else 0,
            rows=shard.rows if shard is not None else 0,
            counts=self._counts,
            state=self._state.model_copy(deep=True),
            log=self._log_bytes,
            end=end,
        )
        self._journal.add(entry)
        self._shards += shard is not None
        self._counts = Counts()
