"""What lies in folders and files that somebody wants to train on: counted, not read into memory."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

from metier.core import Mistake
from metier.core.files import UNREADABLE_SUFFIXES, files_below

BYTES_PER_TOKEN = 4  # of English, and of Chinese: three bytes a character and some 1.4 characters a token

# How much of a file of this kind is text, by bytes: measured on manuals; PDF, mail and what is packed are guesses. What
# is not named here is text throughout, if it is text at all.
_TEXT_SHARE = {
    **dict.fromkeys((".html", ".htm", ".xhtml", ".shtml", ".xml"), 0.5),
    **dict.fromkeys((".eml", ".mbox", ".mbx", ".ipynb", ".warc"), 0.3),
    **dict.fromkeys((".pdf", ".epub", ".docx", ".docm", ".dotx", ".pptx", ".pptm", ".ppsx"), 0.05),
    **dict.fromkeys((".xlsx", ".xlsm", ".xlsb", ".xls", ".ods"), 0.05),
    **dict.fromkeys((".zip", ".whl", ".kmz", ".tar"), 1.0),
    **dict.fromkeys((".gz", ".tgz", ".bz2", ".tbz", ".tbz2", ".xz", ".txz", ".zst", ".zstd", ".tzst"), 3.0),
    **dict.fromkeys((".parquet", ".pq"), 2.0),
}
_PLAIN = {".txt", ".md", ".rst"}
_LINES = (".jsonl", ".ndjson", ".json")
_HEAD = 4096

Kind = Literal["documents", "conversations", "preferences"]


class Evidence(NamedTuple):
    """What one path holds. rows: documents, conversations or pairs. guessed: the bytes of text are a guess by kind."""

    path: Path
    kind: Kind
    rows: int
    text_bytes: int
    guessed: bool


def evidence(path: Path) -> Evidence:
    """Return what a path holds: an artifact's folder, a folder of files, or a file of JSON lines.

    Raises:
        Mistake: nothing is there, or nothing that can be trained on.
    """
    if path.is_dir():
        for kind, column in (("documents", "text"), ("conversations", "messages"), ("preferences", "chosen")):
            if list((path / kind).glob("*.parquet")):
                return _artifact(path, kind, column)  # type: ignore[arg-type]
        return _files(path)
    if not path.is_file():
        raise Mistake(
            f"{path} does not exist", hint="give a folder of documents, an artifact's folder or a .jsonl file"
        )
    if path.suffix.lower() in _LINES:
        return _lines(path)
    share = _share(path)
    if share is not None:
        return Evidence(path, "documents", 1, int(path.stat().st_size * share), path.suffix.lower() not in _PLAIN)
    raise Mistake(
        f"{path} is of no kind that is read", found=path.suffix or "no ending", hint="give a folder, or .jsonl"
    )


def _artifact(path: Path, kind: Kind, column: str) -> Evidence:
    import pyarrow.parquet as pq

    rows = size = 0
    for file in sorted((path / kind).glob("*.parquet")):
        told = pq.ParquetFile(file).metadata
        rows += told.num_rows
        for group in range(told.num_row_groups):
            columns = (told.row_group(group).column(at) for at in range(told.num_columns))
            size += sum(one.total_uncompressed_size for one in columns if one.path_in_schema.split(".")[0] == column)
    return Evidence(path, kind, rows, size, False)


def _files(path: Path) -> Evidence:
    count, size, guessed = 0, 0.0, False
    for file in files_below(path):
        share = _share(file)
        if share is not None:
            if file.suffix.lower() in (".jsonl", ".ndjson"):
                _require_documents(file)
            count += 1
            size += file.stat().st_size * share
            guessed |= file.suffix.lower() not in _PLAIN
    if not count:
        raise Mistake(
            f"{path} holds nothing to learn from",
            found=", ".join(sorted({file.suffix for file in files_below(path)})[:8]) or "no files",
            hint="give a folder with text, Markdown, HTML or PDF, or an artifact's folder",
        )
    return Evidence(path, "documents", count, int(size), guessed)


def _share(file: Path) -> float | None:
    """Return how much of a file is text, by bytes; None if the step `read` would get none out of it."""
    suffix = file.suffix.lower()
    if suffix.removeprefix(".") in UNREADABLE_SUFFIXES:
        return None
    if suffix in _TEXT_SHARE or suffix in _PLAIN or suffix in _LINES:
        return _TEXT_SHARE.get(suffix, 1.0)
    try:
        with file.open("rb") as content:
            head = content.read(_HEAD)
    except OSError:
        return None
    wide = head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return 1.0 if head and (wide or b"\0" not in head) else None


def _require_documents(file: Path) -> None:
    """Raise Mistake if a file of JSON lines among documents holds conversations or pairs, by its first row."""
    kind = kind_of(next(_rows(file), None))
    if kind in ("conversations", "preferences"):
        raise Mistake(
            f"{file} holds {kind}, among documents", hint="move it out of that folder, and name the file by itself"
        )


def _lines(path: Path) -> Evidence:
    kind: Kind | None = None
    rows = size = 0
    for number, row in enumerate(_rows(path), 1):
        found = kind_of(row)
        if found is None:
            raise Mistake(
                f"{path.name}:{number} is no document, conversation or pair",
                found=", ".join(sorted(row)[:8]) if isinstance(row, dict) else type(row).__name__,
                hint='documents have "text", conversations "messages" or "instruction", pairs "chosen" and "rejected"',
            )
        if kind is None:
            kind = found
        elif found != kind:
            raise Mistake(
                f"{path.name}:{number} is of another kind", found=f"{found} among {kind}", hint="split the file"
            )
        rows += 1
        if kind == "documents":
            size += len(row["text"].encode(errors="replace"))  # half a surrogate pair is valid JSON
    if kind is None:
        raise Mistake(f"{path} is empty", hint="give a file with one JSON object a line")
    return Evidence(path, kind, rows, size, False)


def _rows(path: Path) -> Iterator[Any]:
    with path.open(encoding="utf-8-sig", errors="replace") as lines:
        first = lines.read(1)
        lines.seek(0)
        number = 0
        try:
            if first == "[":
                yield from json.load(lines)
                return
            for number, line in enumerate(lines, 1):  # noqa: B007 - told where a line is not JSON
                if line.strip():
                    yield json.loads(line)
        except ValueError as error:
            where = f":{number}" if number else ""
            raise Mistake(f"{path.name}{where} is not JSON", found=str(error), hint="one JSON object a line") from error


def kind_of(row: Any) -> Kind | None:
    """Return what a JSON object is by its keys, or None."""
    if not isinstance(row, dict):
        return None
    if {"chosen", "rejected"} <= row.keys() or {"preferred_output", "non_preferred_output"} <= row.keys():
        return "preferences"
    if {"messages", "conversations", "instruction", "prompt"} & row.keys():
        return "conversations"
    return "documents" if isinstance(row.get("text"), str) else None
