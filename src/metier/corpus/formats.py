"""One file's bytes as a readable document, or the reason why there is none."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from metier.corpus.charset import Undecodable, decode

# Media types by suffix. Plain-text kinds pass through as they are.
MEDIA_TYPES = {
    ".html": "text/html",
    ".htm": "text/html",
    ".xhtml": "text/html",
    ".md": "text/markdown",
    ".markdown": "text/markdown",
    ".txt": "text/plain",
    ".text": "text/plain",
    ".pdf": "application/pdf",
}


class Content(NamedTuple):
    """What a file says: its title, its text (Markdown where it has structure) and its media type."""

    title: str
    text: str
    media_type: str


class Unread(NamedTuple):
    """Why a file gave no document; `reason` is a ledger's key, so it names a kind, never one file."""

    reason: str


def read_file(path: Path, max_bytes: int) -> Content | Unread:
    """Return the content of a file of a kind in MEDIA_TYPES, or the reason why it has none."""
    media_type = MEDIA_TYPES[path.suffix.lower()]
    try:
        if path.stat().st_size > max_bytes:
            return Unread("larger than the limit")
        data = path.read_bytes()
    except OSError as error:
        return Unread(f"unreadable file ({error.strerror or type(error).__name__})")
    if not data:
        return Unread("empty file")
    try:
        content = _content(data, path, media_type)
    except Undecodable as error:
        return Unread(str(error))
    except ValueError:
        return Unread("unreadable PDF" if media_type == "application/pdf" else "unreadable page")
    # A PDF may hold half of a surrogate pair, which no UTF-8 file can.
    content = content._replace(text=content.text.encode("utf-8", "replace").decode())
    if not content.text.strip():
        return Unread("PDF without text" if media_type == "application/pdf" else "no text in it")
    return content


def _content(data: bytes, path: Path, media_type: str) -> Content:
    name = PurePosixPath(path.name).stem.replace("_", " ").replace("-", " ")
    if media_type == "application/pdf":
        from metier.corpus.pdf import pdf_to_text

        pdf = pdf_to_text(data)
        return Content(pdf.title or name, pdf.text, media_type)
    text = decode(data)
    if media_type == "text/html":
        from metier.corpus.html import page_to_markdown

        page = page_to_markdown(text, path.name)
        return Content(page.title or name, page.text, media_type)
    if media_type == "text/markdown":
        heading = re.search(r"^#{1,3}\s+(.+?)\s*#*\s*$", text, re.MULTILINE)
        return Content(heading.group(1) if heading else name, text, media_type)
    return Content(name, text, media_type)
