"""Web archives (WARC): each page is a source of its own, named by its URL."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace

from metier.corpus.read.found import Unread
from metier.corpus.read.kinds import Kind
from metier.corpus.read.sources import Options, Source
from metier.corpus.warc import Damaged, read_warc


def read_web_archive(source: Source, options: Options, kind: Kind) -> Iterator[Unread | Source]:
    """Yield the pages that a server gave with success; when it was is the part, for a page may be there twice."""
    for page in read_warc(source.stream, options.max_bytes):
        if isinstance(page, Damaged):
            yield Unread(page.reason, f"byte {page.offset}")
        elif page.status is not None and not 200 <= page.status < 300:
            yield Unread(f"HTTP status {page.status}", page.date, page.url)
        else:
            stream = io.BufferedReader(io.BytesIO(page.payload))
            yield replace(
                source,
                name=page.url,
                stream=stream,
                size=len(page.payload),
                depth=source.depth + 1,
                part=page.date,
                media_type=page.media_type,
                charset=page.charset,
                inner_name=page.url.split("?")[0].split("#")[0].rpartition("/")[2] or "index.html",
                chosen=True,
            )
