"""What of a reading is finished: a line for each shard that is whole, so that a killed step goes on from there."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field

from metier.core.files import write_bytes_atomic


class State(BaseModel):
    """How far a task is read, and what its present file has given.

    `file` is the number of the file in the task, `after` the place of its last item. `reasons` says why parts of it
    gave no document, `whole` why the file itself did not, or broke off.
    """

    file: int = 0
    after: list[int] | None = None
    documents: int = 0
    reasons: Counter[str] = Field(default_factory=Counter)
    whole: Counter[str] = Field(default_factory=Counter)


class Counts(BaseModel):
    """What happened to files, and to the parts of those that have parts."""

    files: int = 0
    kept: int = 0
    dropped: Counter[str] = Field(default_factory=Counter)
    parts: int = 0
    parts_kept: int = 0
    parts_dropped: Counter[str] = Field(default_factory=Counter)
    documents: int = 0
    text_bytes: int = 0
    kinds: Counter[str] = Field(default_factory=Counter)

    def add(self, other: Counts) -> None:
        """Add what happened elsewhere."""
        for name in type(self).model_fields:
            setattr(self, name, getattr(self, name) + getattr(other, name))


class Entry(BaseModel):
    """A stretch of a task that is finished: its shard, what was counted since the last, and where to go on.

    `shard` is None where the stretch held no document; `end` says that the task is done; `log` is the length of the
    task's list of what could not be read.
    """

    shard: str | None
    bytes: int = 0
    rows: int = 0
    counts: Counts
    state: State
    log: int = 0
    end: bool = False


class Journal:
    """The entries of one task, one JSON object a line.

    Args:
        path: the file. A line that a kill has cut is left out, and all from a shard on that is not whole.
        shards: the folder of the shards.
    """

    def __init__(self, path: Path, shards: Path) -> None:
        self._path = path
        self.entries: list[Entry] = []
        for entry in _lines(path):
            if entry.shard is not None and not _is_whole(shards / entry.shard, entry.bytes):
                break
            self.entries.append(entry)

    @property
    def ended(self) -> bool:
        """Whether the task is done."""
        return bool(self.entries) and self.entries[-1].end

    @property
    def counts(self) -> Counts:
        """What was counted in all finished stretches."""
        total = Counts()
        for entry in self.entries:
            total.add(entry.counts)
        return total

    @property
    def shards(self) -> list[str]:
        """The names of the shards, in the order of the documents."""
        return [entry.shard for entry in self.entries if entry.shard is not None]

    def add(self, entry: Entry) -> None:
        """Keep an entry; it is on the disk when this returns."""
        self.entries.append(entry)
        # Whole or not at all, and what a kill has cut is gone: a task has few entries.
        write_bytes_atomic(self._path, b"".join(map(_line, self.entries)))


def _lines(path: Path) -> list[Entry]:
    found = []
    for line in path.read_bytes().splitlines() if path.is_file() else []:
        try:
            found.append(Entry.model_validate(json.loads(line)))
        except ValueError:
            continue
    return found


def _line(entry: Entry) -> bytes:
    written: dict[str, Any] = entry.model_dump(exclude_defaults=True)
    return json.dumps(written, separators=(",", ":")).encode() + b"\n"


def _is_whole(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size
