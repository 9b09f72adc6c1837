"""Rows out of files that people have: JSON, JSON lines, CSV and Parquet."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from metier.core import Mistake

SUFFIXES = (".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".parquet")


class FileRow(NamedTuple):
    """One row and where it stands: a line of a JSON-lines file, else the row's number from 1."""

    file: Path
    number: int
    fields: dict[str, Any]

    @property
    def place(self) -> str:
        """The place as `name:number`."""
        return f"{self.file.name}:{self.number}"


def files_of(path: Path) -> list[Path]:
    """Return the file, or the files of a folder in the order of their names. Raises Mistake if there are none."""
    if path.is_file():
        return [path]
    found = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES) if path.is_dir() else []
    if not found:
        raise Mistake(
            f"there are no rows in {path}",
            found="a folder without a file of rows" if path.is_dir() else "nothing of that name",
            hint=f"rows are read from files ending in {', '.join(SUFFIXES)}",
        )
    return found


def read_file(file: Path) -> Iterator[FileRow]:
    """Yield the rows of a file. Raises Mistake if it cannot be read as what its name says, with the line."""
    readers = {".json": _json, ".csv": _csv, ".tsv": _csv, ".parquet": _parquet, ".jsonl": _lines, ".ndjson": _lines}
    reader = readers.get(file.suffix.lower())
    if reader is None:
        raise Mistake(
            f"{file.name} is of no kind that rows are read from",
            found=file.suffix or "no ending",
            hint=f"there are: {', '.join(SUFFIXES)}",
        )
    try:
        for number, fields in reader(file):
            if not isinstance(fields, dict):
                raise Mistake(
                    f"{file.name}:{number} is not a row with named fields",
                    found=repr(fields)[:80],
                    hint='a row is written as {"field": value}',
                )
            yield FileRow(file, number, fields)
    except UnicodeDecodeError as error:
        raise Mistake(
            f"{file.name} is not UTF-8 text", found=str(error)[:120], hint=f"iconv -t UTF-8 {file.name} > new"
        ) from error


def _lines(file: Path) -> Iterator[tuple[int, Any]]:
    with file.open(encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                yield number, _parsed(line, f"{file.name}:{number}")


def _json(file: Path) -> Iterator[tuple[int, Any]]:
    text = file.read_text(encoding="utf-8-sig")
    try:
        whole = json.loads(text)
    except json.JSONDecodeError as error:
        # Many a file of JSON lines is called .json.
        first = text.lstrip().split("\n", 1)[0]
        if error.msg == "Extra data" and first.startswith("{") and first.rstrip().endswith("}"):
            yield from _lines(file)
            return
        found = f"line {error.lineno}: {error.msg}" if text.strip() else "an empty file"
        hint = "write [{...}, {...}], or one JSON object a line in a file that ends in .jsonl"
        raise Mistake(f"{file.name} is not valid JSON", found=found, hint=hint) from error
    if isinstance(whole, dict):
        lists = {name: value for name, value in whole.items() if isinstance(value, list)}
        whole = next(iter(lists.values())) if len(whole) == len(lists) == 1 else [whole]
    if not isinstance(whole, list):
        raise Mistake(f"{file.name} holds no list of rows", found=type(whole).__name__, hint="write [{...}, {...}]")
    yield from enumerate(whole, 1)


def _csv(file: Path) -> Iterator[tuple[int, Any]]:
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    with file.open(encoding="utf-8-sig", newline="") as lines:
        reader = csv.DictReader(lines, delimiter="\t" if file.suffix.lower() == ".tsv" else ",")
        for number, row in enumerate(reader, 1):
            if None in row:
                raise Mistake(
                    f"{file.name}:{number} has more cells than the header has names",
                    found=f"{len(row[None]) + len(row) - 1} cells, {len(reader.fieldnames or ())} names",
                    hint="put a cell that holds a comma into quotation marks",
                )
            yield number, row


def _parquet(file: Path) -> Iterator[tuple[int, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(file) as table:
            number = 0
            for batch in table.iter_batches(1_000):
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
    except pa.ArrowInvalid as error:
        found = str(error)[:200] if file.stat().st_size else "an empty file"
        raise Mistake(
            f"{file.name} is not valid Parquet", found=found, hint="copy it again, or export it anew"
        ) from error


def _parsed(text: str, place: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise Mistake(
            f"{place} is not valid JSON", found=f"column {error.colno}: {error.msg}", hint="one JSON object a line"
        ) from error
