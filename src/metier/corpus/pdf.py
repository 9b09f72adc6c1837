"""Text of a PDF: paragraphs re-joined, running heads and page numbers gone. No layout, no recognition of scans."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

_NUMBER = re.compile(r"\d+")


class Pdf(NamedTuple):
    """A PDF's own title, or None, its text, and the text of each page, "" for one without."""

    title: str | None
    text: str
    pages: list[str]


def pdf_to_text(data: bytes) -> Pdf:
    """Return the text of a PDF.

    Raises:
        ValueError: pdfium cannot open it; the message says whether it is damaged or locked by a password.
    """
    import pypdfium2

    try:
        document = pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError as error:
        raise ValueError("locked by a password" if "assword" in str(error) else "unreadable PDF") from error
    try:
        pages = []
        for page in document:
            text = page.get_textpage()
            # pdfium marks a hyphen at a line's end with U+FFFE or U+0002.
            lines = text.get_text_bounded().replace("\ufffe", "-\n").replace("\x02", "-\n").splitlines()
            pages.append([line.strip() for line in lines if line.strip()])
            text.close()
            page.close()
        title = (document.get_metadata_dict().get("Title") or "").strip() or None
    finally:
        document.close()
    clean = without_running_heads(pages)
    return Pdf(title, join_lines([line for page in clean for line in page]), [join_lines(page) for page in clean])


def without_running_heads(pages: Sequence[Sequence[str]], edge: int = 2, share: float = 0.5) -> list[list[str]]:
    """Return the pages without the lines that stand at the edge of at least `share` of them.

    Numbers count as equal, so that "12 Annual report" and "14 Annual report" are one line.
    Fewer than four pages prove nothing and stay as they are.
    """
    if len(pages) < 4:
        return [list(page) for page in pages]
    seen: Counter[str] = Counter()
    for page in pages:
        seen.update({_NUMBER.sub("0", line) for line in (*page[:edge], *page[-edge:])})
    running = {line for line, count in seen.items() if count >= share * len(pages)}
    # Left and right pages may have heads of their own; a bare page number is never text.
    running |= {line for line, count in seen.items() if line == "0" and count > 1}
    return [
        [
            line
            for at, line in enumerate(page)
            if not ((at < edge or at >= len(page) - edge) and _NUMBER.sub("0", line) in running)
        ]
        for page in pages
    ]


def join_lines(lines: Sequence[str]) -> str:
    """Return lines as paragraphs: a line that ends full width runs on, a word cut by a hyphen is made whole."""
    if not lines:
        return ""
    width = sorted(len(line) for line in lines)[int(0.8 * len(lines))]
    pieces = [lines[0]]
    for before, line in pairwise(lines):
        if before.endswith("-") and line[:1].islower() and before[-2:-1].isalpha():
            pieces[-1] = pieces[-1][:-1]
            pieces.append(line)
        elif len(before) >= 0.7 * width and not _starts_item(line):
            pieces += " ", line
        else:
            pieces += ("\n" if _starts_item(line) else "\n\n"), line
    return "".join(pieces)


def _starts_item(line: str) -> bool:
    return re.match(r"(?:[-•*‣▪]|\(?\d{1,2}[.)])\s", line) is not None
