"""Anonymisation as the engine runs it: a pure function from a batch of documents to one without personal data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from metier.core import Mistake
from metier.corpus.anonymise.audit import note_of, shape
from metier.corpus.anonymise.finder import Finder, Wanted
from metier.corpus.anonymise.keys import key_check, read_key
from metier.corpus.anonymise.kinds import SORTS, Action, Column, Kind, Span
from metier.corpus.anonymise.pseudonyms import Pseudonyms
from metier.corpus.anonymise.reidentify import Entry, seal

if TYPE_CHECKING:
    import pyarrow as pa

FAILED = "anonymisation failed"
_SHAPES_A_DOCUMENT = 3


@dataclass(frozen=True)
class KeyPlace:
    """Where a key is found on every machine, and the check of the one that is meant."""

    variable: str
    file: str | None
    check: str

    def read(self) -> bytes:
        """Return the key. Raises Mistake if this machine has none, or another."""
        key = read_key(self.variable, self.file)
        if key_check(key) != self.check:
            raise Mistake(
                "a worker has another key than the step was started with",
                hint=f"set {self.variable} to the same value on every machine, or give all the same key file",
            )
        return key


@dataclass(frozen=True)
class Reidentification:
    """Where the encrypted map goes, the place of its passphrase, and the map's salt."""

    folder: Path
    passphrase: KeyPlace
    salt: bytes


@dataclass(frozen=True)
class Anonymisation:
    """Replace what is found in some columns, or leave the document out.

    A document at which anything goes wrong is left out: nothing leaves that was not looked at.

    Args:
        actions: what to do with each kind.
        key: where the key of pseudonyms is; needed if any action is "pseudonym".
    """

    wanted: Wanted
    actions: Mapping[Kind, Action]
    columns: tuple[Column, ...]
    key: KeyPlace | None = None
    reidentification: Reidentification | None = None

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Return the batch with its texts replaced, reasons and counts."""
        from metier.corpus.engine import noted, objected

        finder = _finder(self.wanted)
        pseudonyms = _pseudonyms(self.key) if self.key is not None else None
        work = _Batch(self, finder, pseudonyms, batch)
        for column in self.columns:
            work.replace(column)
        if self.reidentification is not None and work.entries:
            place = self.reidentification
            name = "\0".join(batch.column("id").to_pylist())
            seal(place.folder, name, work.entries, _passphrase(place.passphrase), place.salt)
        return noted(objected(work.batch, work.reasons), work.notes())


class _Batch:
    """One batch under way."""

    def __init__(
        self, step: Anonymisation, finder: Finder, pseudonyms: Pseudonyms | None, batch: pa.RecordBatch
    ) -> None:
        self._step, self._finder, self._pseudonyms = step, finder, pseudonyms
        self.batch = batch
        self.reasons: list[str | None] = [None] * batch.num_rows
        self.entries: set[Entry] = set()
        self._counts: list[Counter[tuple[str, str]]] = [Counter() for _ in range(batch.num_rows)]
        self._shapes: list[Counter[tuple[str, str]]] = [Counter() for _ in range(batch.num_rows)]
        self._sources = batch.column("source")

    def replace(self, column: str) -> None:
        """Replace what is found in one column; the digest follows the text."""
        import pyarrow as pa

        from metier.corpus.documents import text_digest

        array = self.batch.column(column)
        changed: dict[int, str] = {}
        for row, spans in self._found(array).items():
            data = array[row].as_py().encode("utf-8", "replace")
            try:
                changed[row] = self._replaced(row, data, spans)
            except Mistake:
                raise
            except Exception as error:
                self.reasons[row] = f"{FAILED} ({type(error).__name__})"
        if not changed:
            return
        texts = [changed.get(row, text) for row, text in enumerate(array.to_pylist())]
        columns = {column: pa.array(texts, array.type)}
        if column == "text":
            digests = self.batch.column("digest").to_pylist()
            for row, text in changed.items():
                digests[row] = text_digest(text)
            columns["digest"] = pa.array(digests, pa.string())
        arrays = [columns.get(name, self.batch.column(name)) for name in self.batch.schema.names]
        self.batch = pa.RecordBatch.from_arrays(arrays, schema=self.batch.schema)

    def _found(self, array: pa.Array) -> dict[int, list[Span]]:
        """Return the spans by row; where the whole column cannot be looked at together, each text by itself."""
        try:
            return self._finder(array)
        except Mistake:
            raise
        except Exception:
            found: dict[int, list[Span]] = {}
            for row in range(len(array)):
                try:
                    found[row] = self._finder(array.slice(row, 1)).get(0, [])
                except Exception as error:
                    self.reasons[row] = f"{FAILED} ({type(error).__name__})"
            return found

    def _replaced(self, row: int, data: bytes, spans: list[Span]) -> str:
        parts, last = [], 0
        for span in spans:
            sort = SORTS[span.code]
            action = self._step.actions[sort.kind]
            value = data[span.start : span.end].decode("utf-8", "replace")
            self._counts[row][sort.label, action] += 1
            if len(self._shapes[row]) < _SHAPES_A_DOCUMENT:
                self._shapes[row][sort.label, shape(value)] += 1
            if action == "drop":
                self.reasons[row] = self.reasons[row] or f"holds personal data: {sort.kind}"
            put = sort.tag
            if action == "pseudonym" and self._pseudonyms is not None:
                put = self._pseudonyms.of(span.code, value)
                if self._step.reidentification is not None:
                    self.entries.add(Entry(sort.label, put, value))
            parts += [data[last : span.start].decode("utf-8", "replace"), put]
            last = span.end
        return "".join([*parts, data[last:].decode("utf-8", "replace")])

    def notes(self) -> list[dict[str, int] | None]:
        """Return what is to be counted of each document."""
        notes: list[dict[str, int] | None] = []
        for row, counts in enumerate(self._counts):
            if not counts:
                notes.append(None)
                continue
            group = _group(self._step.wanted, self._sources[row].as_py())
            note = {note_of("count", label, action, group): count for (label, action), count in counts.items()}
            shapes = self._shapes[row].items()
            notes.append(note | {note_of("shape", label, found): count for (label, found), count in shapes})
        return notes


@lru_cache(maxsize=4)
def _finder(wanted: Wanted) -> Finder:
    return Finder(wanted)


@lru_cache(maxsize=4)
def _pseudonyms(place: KeyPlace) -> Pseudonyms:
    return Pseudonyms(place.read())


@lru_cache(maxsize=4)
def _passphrase(place: KeyPlace) -> bytes:
    return place.read()


@lru_cache(maxsize=10_000)
def _group(wanted: Wanted, source: str) -> str:
    """Return the first part of a source's path, or its host, with what is personal in it masked."""
    import pyarrow as pa

    scheme, found, rest = source.partition("://")
    group = (rest if found else scheme).split("/", 1)[0] if "/" in source else ""
    spans = _finder(wanted)(pa.array([group])).get(0, [])
    data = group.encode("utf-8", "replace")
    for span in reversed(spans):
        data = data[: span.start] + SORTS[span.code].tag.encode() + data[span.end :]
    return data.decode("utf-8", "replace")
