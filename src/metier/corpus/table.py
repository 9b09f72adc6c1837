"""Read documents from a column of a JSONL, CSV or Parquet file."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from metier.core import LocalPath, Mistake, Step, Work
from metier.core.types import Document, Documents
from metier.corpus.documents import new_document

_BATCH = 1000


class Table(Step[Documents]):
    """Read a column of text from a JSONL, CSV, TSV or Parquet file, one document a row."""

    name: ClassVar[str] = "table"

    file: LocalPath = Field(description="The file; its suffix says its format.")
    column: str = Field("text", description="The column with the text.")
    title_column: str | None = Field(None, description="The column with a title, if there is one.")
    limit: int | None = Field(None, ge=1, description="Read only so many rows.")
    language: str | None = Field(None, description="Language of the documents, where you know it.")
    license: str | None = Field(
        None, description="Licence of the text, as its publisher states it; kept in the record."
    )

    def run(self, work: Work) -> None:
        """Write every row with text as a document."""
        path = self.file.path
        dropped: Counter[str] = Counter()
        with work.progress(f"reading {path.name}", self.limit, "rows") as bar:

            def documents() -> Iterator[Document]:
                for number, row in enumerate(islice(rows(path), self.limit), start=1):
                    bar.advance()
                    text = self._cell(row, self.column, number)
                    if not isinstance(text, str) or not text.strip():
                        dropped["no text in the row" if not text else "not text"] += 1
                        continue
                    title = self._cell(row, self.title_column, number) if self.title_column else None
                    yield new_document(f"{path.name}#{number}", text, str(title or ""), language=self.language)

            made = Documents.write(work.folder, documents())
        if made == 0:
            raise Mistake(
                f"{path.name} holds no text", found=f"{dropped.total()} rows", hint="is `column` the right one?"
            )
        work.count("row", made + dropped.total(), made, dropped, made={"document": made})
        if self.license is not None:
            work.figure("license", self.license)

    def _cell(self, row: dict[str, Any], column: str, number: int) -> Any:
        if column not in row:
            raise Mistake(
                f"{self.file.path.name}:{number} has no '{column}'",
                found=", ".join(map(str, row)) or "an empty row",
                hint="name the column with the text: column: ...",
            )
        return row[column]


def rows(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of a JSONL, CSV, TSV or Parquet file, a few at a time in memory.

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
            for batch in file.iter_batches(_BATCH):
                yield from batch.to_pylist()
    except pa.ArrowInvalid as error:
        raise Mistake(f"{path.name} is no readable Parquet file", found=str(error)) from error
