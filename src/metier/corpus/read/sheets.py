"""Spreadsheets (Excel new and old, OpenDocument) as Markdown, a table for each sheet."""

from __future__ import annotations

import datetime
import zipfile
from collections.abc import Iterator
from typing import Any

from metier.corpus.read.found import DAMAGED, LOCKED, NO_TEXT, TOO_LARGE, Content, Unread, Unreadable
from metier.corpus.read.kinds import Kind
from metier.corpus.read.ooxml import table
from metier.corpus.read.sources import Options, Source
from metier.corpus.read.text import name_as_title


def read_sheets(source: Source, options: Options, kind: Kind) -> Iterator[Content | Unread]:
    """Yield each sheet as a document; formulas are given as the values that were last worked out."""
    import python_calamine

    if source.size is not None and source.size > options.max_bytes:
        raise Unreadable(TOO_LARGE)
    stream = source.seekable()
    if zipfile.is_zipfile(stream):
        stream.seek(0)
        with zipfile.ZipFile(stream) as package:
            source.budget.take(sum(info.file_size for info in package.infolist()))
    stream.seek(0)
    try:
        workbook = python_calamine.load_workbook(stream)
    except python_calamine.PasswordError:
        raise Unreadable(LOCKED) from None
    except python_calamine.CalamineError as error:
        raise Unreadable(LOCKED if "ncrypted" in str(error) else DAMAGED, str(error)) from None
    title = name_as_title(source.file_name)
    for name in workbook.sheet_names:
        yield _sheet(workbook, name, title, kind, options)


def _sheet(workbook: Any, name: str, title: str, kind: Kind, options: Options) -> Content | Unread:
    import python_calamine

    part = f"sheet {name}"
    try:
        sheet = workbook.get_sheet_by_name(name)
    except python_calamine.CalamineError as error:
        return Unread("damaged sheet", part, str(error))
    rows, size = [], 0
    for row in sheet.iter_rows():
        cells = [_shown(value) for value in row]
        size += sum(map(len, cells))
        if size > options.max_bytes:
            return Unread(TOO_LARGE, part)
        rows.append(cells)
    text = table(_without_empty_columns(rows))
    if not text:
        return Unread(NO_TEXT, part)
    return Content(f"# {name}\n\n{text}", f"{title}: {name}", kind.media_type, part)


def _without_empty_columns(rows: list[list[str]]) -> list[list[str]]:
    used = [any(column) for column in zip(*rows, strict=False)]
    return [[cell for cell, keep in zip(row, used, strict=False) if keep] for row in rows]


def _shown(value: Any) -> str:
    """Return a cell's value as a reader of the sheet would see it, without the format of its numbers."""
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
    if isinstance(value, datetime.datetime):
        return value.date().isoformat() if value.time() == datetime.time() else value.isoformat(" ")
    return str(value)
