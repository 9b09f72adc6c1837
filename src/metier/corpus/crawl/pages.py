"""From the archive of a crawl to documents: one a page, in the order of their addresses."""

from __future__ import annotations

import re
import sqlite3
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from metier.core import Work
from metier.core.tables import write_rows
from metier.core.types import Document, Documents
from metier.corpus.charset import Undecodable, decode
from metier.corpus.crawl.archive import archive_file
from metier.corpus.crawl.frontier import FETCHED, PAGE, Frontier
from metier.corpus.documents import new_document
from metier.corpus.engine.pool import Lost, open_pool
from metier.corpus.warc import Damaged, Place, page_at

PAGE_SECONDS = 60.0
_SAME = "same bytes as a page fetched before"
_NO_EARLIER = "unchanged, and gave no document before"
_COLUMNS = {
    **dict.fromkeys(("url", "key", "outcome", "document", "found_on", "media_type", "fetched"), "string"),
    **dict.fromkeys(("status", "depth", "bytes"), "int"),
    **dict.fromkeys(("etag", "last_modified", "payload_digest", "license", "language", "warc"), "string"),
    **dict.fromkeys(("offset", "length"), "int"),
}


class Page(NamedTuple):
    """One record of the archive, for a worker to read."""

    file: int
    place: Place
    url: str
    media_type: str
    charset: str | None


class Read(NamedTuple):
    """What a page says: its title and its text."""

    title: str
    text: str


def write_documents(
    work: Work, frontier: Frontier, archive: Path, previous: Documents | None, language: str | None
) -> Counter[str]:
    """Write the documents of all fetched pages and return how many pages gave none, by reason.

    A page that is unchanged since the earlier crawl gives the earlier document. Which document each page gave, or why
    none, is then in the frontier.
    """
    dropped: Counter[str] = Counter()
    outcomes: list[tuple[str | None, str | None, int]] = []
    here = "state = ? AND kind = ?"
    tasks = (
        Page(row["file"], Place(row["start"], row["length"]), row["url"], row["media_type"], row["charset"])
        for row in frontier.rows(f"{here} AND unchanged = 0 AND same_as IS NULL", FETCHED, PAGE)
    )
    with open_pool(work.host, work) as pool, work.progress("reading pages", frontier.fetched, "pages") as bar:
        results = pool.map(partial(read_page, archive), tasks, seconds=PAGE_SECONDS)
        earlier = _earlier(previous)

        def documents() -> Iterator[Document]:
            for row in frontier.rows(here, FETCHED, PAGE):
                made = _made(row, results, earlier, language)
                bar.advance()
                outcomes.append((None, made, row["id"]) if isinstance(made, str) else (made.id, None, row["id"]))
                if len(outcomes) >= 1000:
                    frontier.documented(outcomes)
                    outcomes.clear()
                if isinstance(made, str):
                    dropped[made] += 1
                else:
                    yield made

        Documents.write(work.folder, documents())
    frontier.documented(outcomes)
    return dropped


def read_page(archive: Path, page: Page) -> Read | str:
    """Return the title and text of a page, or the reason why it has none."""
    found = page_at(archive_file(archive, page.file), page.place)
    if isinstance(found, Damaged):
        return found.reason
    name = PurePosixPath(unquote(urlsplit(page.url).path)).name
    try:
        read = _read(found.payload, page, name)
    except Undecodable as error:
        return str(error)
    except ValueError as error:
        return str(error) if page.media_type == "application/pdf" else "unreadable page"
    if not read.text.strip():
        return "PDF without text" if page.media_type == "application/pdf" else "no text in it"
    title = " ".join(read.title.split()) or name or urlsplit(page.url).netloc
    # A PDF may hold half of a surrogate pair, which no UTF-8 file can.
    return Read(*(part.encode("utf-8", "replace").decode() for part in (title, read.text)))


def page_text(payload: bytes, charset: str | None) -> str:
    """Return a page as text. What the HTTP header claims is believed where the bytes bear it out.

    Bytes that are UTF-8 are UTF-8 whatever the header says, and Latin-1, which many servers claim for every page, is
    believed only when nothing in the page says better. Raises Undecodable.
    """
    western = charset in ("iso-8859-1", "latin-1", "latin1", "us-ascii", "ascii", "windows-1252", "utf-8", "utf8")
    first, second = (None, charset) if western else (charset, None)
    try:
        return decode(payload, first)
    except Undecodable:
        if charset is None:
            raise
        return decode(payload, second)


def write_urls(folder: Path, frontier: Frontier) -> None:
    """Write what became of every URL to `urls/`, and the links of each fetched page to `links/`."""

    def rows() -> Iterator[dict[str, Any]]:
        for row in frontier.outcomes():
            yield {
                **{name: row.get(name) for name in _COLUMNS},
                "outcome": row["reason"] or "document",
                "last_modified": row["modified"],
                "payload_digest": row["digest"],
                "warc": archive_file(Path(), row["file"]).name if row["file"] is not None else None,
                "offset": row["start"],
            }

    write_rows(folder / "urls", rows(), _COLUMNS)
    links = ({"page": page, "target": target} for page, target in frontier.links())
    write_rows(folder / "links", links, {"page": "string", "target": "string"})


def _read(payload: bytes, page: Page, name: str) -> Read:
    if page.media_type == "application/pdf":
        from metier.corpus.pdf import pdf_to_text

        pdf = pdf_to_text(payload)
        return Read(pdf.title or "", pdf.text)
    text = page_text(payload, page.charset)
    if page.media_type in ("text/html", "application/xhtml+xml"):
        from metier.corpus.html import page_to_markdown

        web = page_to_markdown(text, name)
        return Read(web.title or "", web.text)
    heading = re.search(r"^#{1,3}\s+(.+?)\s*#*\s*$", text, re.MULTILINE) if page.media_type == "text/markdown" else None
    return Read(heading[1] if heading else "", text)


def _made(
    row: sqlite3.Row,
    results: Generator[Read | str | Lost, None, None],
    earlier: Callable[[str], Document | None],
    language: str | None,
) -> Document | str:
    """Return the document that a fetched page makes, or why none."""
    if row["unchanged"]:
        return earlier(row["url"]) or _NO_EARLIER
    if row["same_as"] is not None:
        return _SAME
    read = next(results)
    if isinstance(read, Lost):
        return f"reading it failed: {read.reason}"
    if isinstance(read, str):
        return read
    spoken = language or row["language"]
    return new_document(row["url"], read.text, read.title, row["media_type"], spoken, license=row["license"])


def _earlier(previous: Documents | None) -> Callable[[str], Document | None]:
    """Return a look-up in the earlier crawl's documents, to be asked for addresses in ascending order."""
    rows = previous.rows() if previous is not None else iter(())
    held = [next(rows, None)]

    def look_up(url: str) -> Document | None:
        while held[0] is not None and held[0].source < url:
            held[0] = next(rows, None)
        return held[0] if held[0] is not None and held[0].source == url else None

    return look_up
