"""Web pages and PDF files."""

from __future__ import annotations

from collections.abc import Iterator

from metier.corpus.charset import decode
from metier.corpus.read.found import NO_TEXT, Content, Unread, Unreadable
from metier.corpus.read.kinds import Kind
from metier.corpus.read.sources import Options, Source
from metier.corpus.read.text import name_as_title, refuse_unbroken


def read_html(source: Source, options: Options, kind: Kind) -> Iterator[Content]:
    """Yield a web page as Markdown."""
    from metier.corpus.html import page_to_markdown

    html = decode(source.data(options.max_bytes), source.charset)
    refuse_unbroken(html, options.max_unbroken)
    page = page_to_markdown(html, source.file_name)
    if not page.text.strip():
        raise Unreadable(NO_TEXT)
    yield Content(page.text, page.title or name_as_title(source.file_name), kind.media_type, language=page.language)


def read_pdf(source: Source, options: Options, kind: Kind) -> Iterator[Content | Unread]:
    """Yield a PDF's text, as one document or one for each page."""
    from metier.corpus.pdf import pdf_to_text

    data = source.data(options.max_bytes)
    try:
        pdf = pdf_to_text(data)
    except ValueError as error:
        raise Unreadable(str(error)) from None
    if not pdf.text.strip():
        raise Unreadable("PDF without text")
    title = pdf.title or name_as_title(source.file_name)
    if not options.split_pages:
        yield Content(pdf.text, title, kind.media_type)
        return
    for number, text in enumerate(pdf.pages, 1):
        part = f"page {number}"
        yield Content(text, title, kind.media_type, part) if text.strip() else Unread(NO_TEXT, part)
