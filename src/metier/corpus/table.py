"""Tables: documents from a column of one of any size, and the rows of a small one."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from metier.core import LocalPath, Mistake, Step, Work
from metier.core.types import Documents
from metier.corpus.read.kinds import CONTAINERS, by_name
from metier.corpus.read.place import Place

_TABLES = ("jsonl", "json", "csv", "tsv", "parquet")


class Table(Step[Documents]):
    """Read a column of text from a JSON lines, JSON, CSV, TSV or Parquet file, one document a row.

    The file may be compressed, and of any size: it is read as a stream. A row without text, or broken, is counted with
    its reason and listed with its number in `unread.tsv`; the others are read.
    """

    name: ClassVar[str] = "table"
    version: ClassVar[int] = 2
    extras: ClassVar[tuple[str, ...]] = ("corpus",)

    file: Place = Field(description="The file, or its URL; its suffix says its format.")
    column: str = Field("text", description="The column with the text.")
    title_column: str | None = Field(None, description="The column with a title, if there is one.")
    limit: int | None = Field(None, ge=1, description="Read only so many rows.")
    language: str | None = Field(None, description="Language of the documents, where you know it.")
    license: str | None = Field(None, description="Licence of the text, as its publisher states it.")
    language_column: str | None = Field(None, description="The column with the language, if there is one.")
    license_column: str | None = Field(None, description="The column with the licence, if there is one.")
    max_megabytes: float = Field(100.0, gt=0, le=1000, description="Rows larger than this are passed over.")

    def run(self, work: Work) -> None:
        """Write every row with text as a document."""
        from metier.corpus.read.listing import list_local
        from metier.corpus.read.reader import Limits
        from metier.corpus.read.reading import LocalFiles, Reading, nowhere
        from metier.corpus.read.remote import Remote
        from metier.corpus.read.sources import Options

        options = Options(
            column=self.column,
            title_column=self.title_column,
            language_column=self.language_column,
            license_column=self.license_column,
            language=self.language,
            license=self.license,
            max_bytes=int(self.max_megabytes * 1e6),
            max_unbroken=None,
        )
        limits = Limits(seconds=60.0, memory_bytes=4 << 30)
        if isinstance(self.file, LocalPath):
            path = self._checked(self.file)
            reading = Reading(work, options, limits, LocalFiles(path.path), limit=self.limit)
            counts = reading.run(list_local(path.path, ("*",), ()))
            name = path.path.name
        else:
            remote, name = Remote(self.file), self.file
            reading = Reading(work, options, limits, nowhere, remote.opener, self.limit)
            counts = reading.run(remote.files(("*",), ()))
        if counts.documents == 0:
            rows = [f"{count} rows: {reason}" for reason, count in counts.parts_dropped.most_common(3)]
            raise Mistake(
                f"{name} holds no text",
                found="; ".join(rows or counts.dropped),
                hint="is `column` the right one? unread.tsv beside it says more",
            )
        came = counts.documents + counts.parts_dropped.total()
        work.count("row", came, counts.documents, counts.parts_dropped, made={"document": counts.documents})
        if self.license is not None:
            work.figure("license", self.license)

    def _checked(self, file: LocalPath) -> LocalPath:
        """Return the file. Raises Mistake if it is not there, or no table by its name."""
        path = file.path
        if not path.is_file():
            raise Mistake(f"{path} is not a file", found="a folder" if path.exists() else "nothing there")
        kind = by_name(path.name)
        if kind is not None and kind.reader in CONTAINERS:
            kind = by_name(path.stem)
        if kind is None or kind.reader not in _TABLES:
            raise Mistake(
                f"{path.name} is no table",
                found=f"suffix '{path.suffix}'",
                hint="give .jsonl, .json, .csv, .tsv or .parquet, compressed or not",
            )
        return file


def rows(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of a JSONL, CSV, TSV or Parquet file that somebody wrote by hand, a few at a time in memory.

    Unlike `Table` this lets nothing pass: a list of labelled examples is mended, not read in part.

    Raises:
        Mistake: the file is not there, of another kind, or damaged; with the line where that is known.
    """
    readers = {".jsonl": _jsonl, ".ndjson": _jsonl, ".csv": _csv, ".tsv": _csv, ".parquet": _parquet}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise Mistake(
            f"{path.name} is no table", found=f"suffix '{path.suffix}'", hint="give .jsonl, .csv, .tsv or .parquet"
        )
    if not path.is_file():
        raise Mistake(f"{path} is not a file", found="a folder" if path.exists() else "nothing there")
    try:
        yield from reader(path)
    except UnicodeDecodeError as error:
        raise Mistake(f"{path.name} is not UTF-8", found=str(error), hint="convert it: iconv -t utf-8") from error


def _jsonl(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8-sig") as stream:
        for number, line in enumerate(stream, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise Mistake(
                    f"{path.name}:{number} is no JSON", found=str(error), hint="one JSON object a line"
                ) from error
            if not isinstance(row, dict):
                raise Mistake(
                    f"{path.name}:{number} is no JSON object", found=type(row).__name__, hint="one JSON object a line"
                )
            yield row


def _csv(path: Path) -> Iterator[dict[str, Any]]:
    # A cell is a whole document here; the library's own limit is 128 KiB.
    csv.field_size_limit(1 << 30)
    with path.open(encoding="utf-8-sig", newline="") as stream:
        try:
            yield from csv.DictReader(stream, dialect="excel-tab" if path.suffix.lower() == ".tsv" else "excel")
        except csv.Error as error:
            raise Mistake(f"{path.name} is no readable CSV", found=str(error), hint="check its quotes") from error


def _parquet(path: Path) -> Iterator[dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(1000):
                yield from batch.to_pylist()
    except pa.ArrowInvalid as error:
        raise Mistake(f"{path.name} is no readable Parquet file", found=str(error)) from error
