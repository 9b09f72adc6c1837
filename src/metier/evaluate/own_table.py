"""The file of a team's own exam: CSV, TSV or JSON lines, row by row, with the line of each."""

from __future__ import annotations

import codecs
import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from metier.core.errors import Mistake
from metier.evaluate.own_rows import Bad

_SEPARATORS = {".csv": ",", ".tsv": "\t"}


class Line(NamedTuple):
    """One row: the number of the line where it begins, and its cells by column, or what is wrong with it."""

    number: int
    row: dict[str, Any] | Bad


def lines(path: Path, encoding: str) -> Iterator[Line]:
    """Yield the rows of a .csv, .tsv or .jsonl file. Names of columns are in lower case; blank lines are passed over.

    Raises:
        Mistake: the file is of another kind, is not in `encoding`, has no header, or breaks off as a table.
    """
    suffix = path.suffix.lower()
    if suffix not in (*_SEPARATORS, ".jsonl"):
        raise Mistake(f"{path.name} is no exam file", found=suffix or "no suffix", hint="a .csv, .tsv or .jsonl file")
    text = _text(path, encoding)
    yield from _json_lines(text) if suffix == ".jsonl" else _table(path, text, _SEPARATORS[suffix])


def _text(path: Path, encoding: str) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise Mistake(f"{path} cannot be read", found=str(error)) from error
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        encoding = "utf-16"  # as spreadsheets save "Unicode text"; its first two bytes say so
    try:
        return data.decode("utf-8-sig" if codecs.lookup(encoding).name == "utf-8" else encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise Mistake(
            f"{path.name}:{line} is not {encoding}",
            found=f"byte 0x{data[error.start]:02x} at position {error.start}",
            hint="save the file as UTF-8, or name what it is: encoding: cp1252 (Western), gb18030 (Chinese)",
        ) from error
    except (LookupError, UnicodeError) as error:
        raise Mistake("no such encoding", found=encoding, hint="utf-8, cp1252, gb18030 ...") from error


def _json_lines(text: str) -> Iterator[Line]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            json.dumps(row, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            yield Line(number, Bad("the line", "holds half a character (a lone surrogate, \\ud800 to \\udfff)", line))
            continue
        except (ValueError, RecursionError) as error:
            yield Line(number, Bad("the line", f"is no JSON ({error})", line))
            continue
        if not isinstance(row, dict):
            yield Line(number, Bad("the line", "is no JSON object", line))
            continue
        named = {name.strip().lower(): value for name, value in row.items()}
        if len(named) < len(row):
            yield Line(number, Bad("the line", "has two fields of one name, up to case and spaces", line))
        else:
            yield Line(number, named)


def _table(path: Path, text: str, separator: str) -> Iterator[Line]:
    separator = _separator(text, separator)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    header: list[str] | None = None
    while True:
        number = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            # What follows an unclosed quote cannot be told apart, so it cannot be counted as so many bad rows either.
            raise Mistake(
                f"{path.name}:{number} cannot be read, nor can what follows",
                found=str(error),
                hint="close the quotes of each cell, and write a quote within one twice; a cell of more than "
                f"{csv.field_size_limit():,} characters takes a .jsonl file",
            ) from error
        if not any(cell.strip() for cell in cells):
            continue
        if header is None:
            header = _header(path, cells)
        elif len(cells) > len(header):
            what = f"has {len(cells)} cells under {len(header)} columns: quote cells that hold the separator"
            yield Line(number, Bad("the line", what, separator.join(cells)))
        else:
            yield Line(number, dict(zip(header, cells, strict=False)))


def _separator(text: str, usual: str) -> str:
    """Return what separates the names of columns: spreadsheets write semicolons where the comma marks decimals."""
    header = next((line for line in text.splitlines() if line.strip()), "")
    for mark in (usual, ";", "\t", ","):
        if "question" in (name.strip().strip('"').lower() for name in header.split(mark)):
            return mark
    return usual


def _header(path: Path, cells: list[str]) -> list[str]:
    names = [cell.strip().lower() for cell in cells]
    if "question" not in names:
        raise Mistake(
            f"{path.name} has no column 'question'",
            found=", ".join(cells)[:200],
            hint="the first line names the columns, as in: question,A,B,C,D,answer",
        )
    twice = next((name for name in names if name and names.count(name) > 1), None)
    if twice is not None:
        raise Mistake(f"{path.name} has two columns '{twice}'", found=", ".join(cells)[:200], hint="rename one of them")
    return names
