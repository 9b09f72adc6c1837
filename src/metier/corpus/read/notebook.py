"""Jupyter notebooks (nbformat 3 and 4) as Markdown: prose as it is, code in fences, and what the code printed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from metier.corpus.charset import decode
from metier.corpus.read.found import NO_TEXT, Content, Unreadable
from metier.corpus.read.kinds import Kind
from metier.corpus.read.ooxml import fence
from metier.corpus.read.sources import Options, Source
from metier.corpus.read.text import name_as_title

_MAX_OUTPUT = 2000  # characters of one cell's printed output


def read_notebook(source: Source, options: Options, kind: Kind) -> Iterator[Content]:
    """Yield a notebook's cells as one Markdown text. Pictures and tables of data in HTML are left out."""
    try:
        book = json.loads(decode(source.data(options.max_bytes), source.charset))
        cells = book["cells"] if "cells" in book else [cell for sheet in book["worksheets"] for cell in sheet["cells"]]
        language = str(book.get("metadata", {}).get("kernelspec", {}).get("language", "python"))
        blocks = [block for cell in cells for block in _blocks(cell, language)]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise Unreadable("damaged notebook", f"{type(error).__name__}: {error}") from None
    text = "\n\n".join(blocks)
    if not text:
        raise Unreadable(NO_TEXT)
    heading = next((line.lstrip("#").strip() for line in text.split("\n") if line.startswith("#")), None)
    yield Content(text, heading or name_as_title(source.file_name), kind.media_type, language=None)


def _blocks(cell: dict[str, Any], language: str) -> Iterator[str]:
    text = _joined(cell.get("source", cell.get("input", ""))).strip("\n")
    if not text.strip():
        return
    if cell.get("cell_type") != "code":
        yield text
        return
    yield fence([text]).replace("```", f"```{language}", 1)
    for output in cell.get("outputs", ()):
        said = output.get("text") or output.get("data", {}).get("text/plain", "")
        printed = _joined(said).strip("\n")
        if printed.strip() and "text/html" not in output.get("data", {}):
            yield fence([printed[:_MAX_OUTPUT]])


def _joined(said: Any) -> str:
    return "".join(said) if isinstance(said, list) else str(said)
