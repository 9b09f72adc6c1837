"""Tables with a column of text: JSON lines, JSON, CSV, TSV and Parquet. A document for each row, read as a stream."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from metier.corpus.charset import charset_of, decode
from metier.corpus.read.found import TOO_LARGE, Content, Unread, Unreadable
from metier.corpus.read.kinds import Kind, code
from metier.corpus.read.lines import bounded_lines
from metier.corpus.read.sources import Options, Source
from metier.corpus.read.text import refuse_unbroken, text_content

_LOOKED_AT = 1000  # rows without the column, after which a file is none of ours
_SNIFFED = 1 << 18
_BATCH_BYTES = 4_000_000
_LONG_LINE = "\0line beyond the limit\0"

Outcome = Content | Unread


def read_jsonl(source: Source, options: Options, kind: Kind) -> Iterator[Outcome]:
    """Yield a document for each line that is a JSON object with text; the part is the number of the line."""

    def outcomes() -> Iterator[Outcome]:
        for number, line in enumerate(bounded_lines(source.stream, options.max_bytes), 1):
            part = f"line {number}"
            if line is None:
                yield Unread(TOO_LARGE, part)
            elif line.strip():
                yield _json_row(line, part, number == 1, options, kind)

    yield from _with_column(outcomes(), options)


def _json_row(line: bytes, part: str, first: bool, options: Options, kind: Kind) -> Outcome:
    try:
        row = json.loads(line.decode("utf-8-sig" if first else "utf-8"))
    except UnicodeDecodeError:
        return Unread("invalid UTF-8", part)
    except ValueError as error:
        return Unread("no JSON", part, str(error))
    except RecursionError:
        return Unread("nested too deeply", part)
    return row_content(row, part, options, kind) if isinstance(row, dict) else Unread("no JSON object", part)


def read_json(source: Source, options: Options, kind: Kind) -> Iterator[Outcome]:
    """Yield the rows of a JSON array of objects, or the text of one object, if they have the column; else the file."""
    text = decode(source.data(options.max_bytes), source.charset)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None  # with comments, or in several lines: still text
    if isinstance(value, dict) and isinstance(value.get(options.column), str):
        yield row_content(value, "", options, kind)
    elif isinstance(value, list) and any(isinstance(row, dict) and options.column in row for row in value):
        for number, row in enumerate(value, 1):
            part = f"row {number}"
            yield row_content(row, part, options, kind) if isinstance(row, dict) else Unread("no JSON object", part)
    else:
        yield text_content(text, code("json")._replace(media_type=kind.media_type), source.file_name, options)


def read_csv(source: Source, options: Options, kind: Kind) -> Iterator[Outcome]:
    """Yield a document for each row of a CSV or TSV file with a head; the part is the number of the row after it."""
    head = source.head(_SNIFFED)
    whole_lines = head[: head.rfind(b"\n") + 1] or head
    # A few NULs are damage to some rows; the many of UTF-16 are its letters.
    damaged = 0 < whole_lines.count(0) < 0.01 * len(whole_lines)
    charset = charset_of(whole_lines.replace(b"\0", b"") if damaged else whole_lines, source.charset, whole=False)
    lines = _text_lines(source, charset, options)
    first = next(lines, None)
    if first is None:
        raise Unreadable("empty file")
    delimiter = "\t" if kind.reader == "tsv" else _delimiter(first, options.column)
    csv.field_size_limit(options.max_bytes)  # a cell is a whole document; the library's own limit is 128 KiB
    names = next(csv.reader([first], delimiter=delimiter), [])
    if options.column not in names:
        raise Unreadable(f"table without the column '{options.column}'", ", ".join(names)[:200])
    reader = csv.reader(lines, delimiter=delimiter)
    number = 0
    while True:
        number += 1
        part = f"row {number}"
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield Unread("broken CSV row", part, str(error))
            continue
        except UnicodeDecodeError:
            raise Unreadable(f"not in the charset of its beginning ({charset})", f"from row {number}") from None
        if _LONG_LINE in cells:
            yield Unread(TOO_LARGE, part)
        elif any("\0" in cell for cell in cells):
            yield Unread("NUL character in the row", part)
        elif cells:
            yield row_content(dict(zip(names, cells, strict=False)), part, options, kind)


def _text_lines(source: Source, charset: str, options: Options) -> Iterator[str]:
    """Yield decoded lines, _LONG_LINE for one beyond the limit."""
    if "16" in charset or "32" in charset:  # ends of lines are no single bytes there
        yield from io.TextIOWrapper(source.stream, charset, newline="")
        return
    for line in bounded_lines(source.stream, options.max_bytes):
        yield f"{_LONG_LINE}\n" if line is None else line.decode(charset)


def _delimiter(head: str, column: str) -> str:
    """Return what parts the cells of the first line: the one that isolates the column with the text."""
    for delimiter in (",", ";", "\t", "|"):
        if column in next(csv.reader([head.lstrip("\ufeff")], delimiter=delimiter), []):
            return delimiter
    return ","


def read_parquet(source: Source, options: Options, kind: Kind) -> Iterator[Outcome]:
    """Yield a document for each row of a Parquet file, some megabytes of rows in memory at a time."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        # Buffered: else a whole column chunk, which may be a gigabyte, is read at once.
        file = pq.ParquetFile(source.seekable(), buffer_size=1 << 20, pre_buffer=False)
        names = file.schema_arrow.names
        if options.column not in names:
            raise Unreadable(f"table without the column '{options.column}'", ", ".join(names)[:200])
        wanted = (options.column, options.title_column, options.language_column, options.license_column)
        columns = [name for name in dict.fromkeys(wanted) if name in names]
        rows = max(1, file.metadata.num_rows)
        size = sum(file.metadata.row_group(at).total_byte_size for at in range(file.metadata.num_row_groups))
        at_once = max(1, min(1000, _BATCH_BYTES * rows // max(size, 1)))
        number = 0
        for batch in file.iter_batches(at_once, columns=columns, use_threads=False):
            for row in batch.to_pylist():
                number += 1
                yield row_content(row, f"row {number}", options, kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise Unreadable("damaged Parquet file", " ".join(str(error).split())[:200]) from None


def row_content(row: Mapping[str, Any], part: str, options: Options, kind: Kind) -> Outcome:
    """Return a row as a document, or why it is none."""
    if options.column not in row:
        return Unread(no_column(options), part)
    text = row[options.column]
    if isinstance(text, bytes):
        try:
            text = text.decode()
        except UnicodeDecodeError:
            return Unread("invalid UTF-8", part)
    if text is None or (isinstance(text, str) and not text.strip()):
        return Unread("no text in the row", part)
    if not isinstance(text, str):
        return Unread("not text", part, type(text).__name__)
    if len(text) > options.max_bytes:
        return Unread(TOO_LARGE, part)
    try:
        refuse_unbroken(text, options.max_unbroken)
    except Unreadable as error:
        return Unread(error.reason, part, error.detail)
    said = _cells(row, options)
    return Content(
        text, said("title_column") or "", "text/plain", part, said("language_column"), said("license_column")
    )


def _cells(row: Mapping[str, Any], options: Options) -> Callable[[str], str | None]:
    def said(option: str) -> str | None:
        value = row.get(getattr(options, option) or "")
        return str(value) if value not in (None, "") else None

    return said


def no_column(options: Options) -> str:
    """Return the reason for a row that lacks the column with the text."""
    return f"no column '{options.column}' in the row"


def _with_column(outcomes: Iterator[Outcome], options: Options) -> Iterator[Outcome]:
    """Yield outcomes, but raise Unreadable if the first thousand rows all lack the column: the file is another's."""
    held: list[Outcome] = []
    lacking = no_column(options)
    for outcome in outcomes:
        if isinstance(outcome, Unread) and outcome.reason == lacking:
            held.append(outcome)
            if len(held) == _LOOKED_AT:
                break
        elif held or isinstance(outcome, Content):
            yield from held
            yield outcome
            yield from outcomes
            return
        else:
            yield outcome
    if held:
        raise Unreadable(f"table without the column '{options.column}'")
