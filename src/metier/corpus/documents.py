"""Small tools for streams of documents."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator

from metier.core.types import Document


def new_document(
    source: str,
    text: str,
    title: str = "",
    media_type: str = "text/plain",
    language: str | None = None,
    *,
    part: str = "",
    license: str | None = None,
) -> Document:
    """Return a document whose id is made from `source` and `part` alone: an edited page keeps its id, and so its split.

    Args:
        part: the page, section, sheet or row of the source; "" for the whole of it.
    """
    return Document(
        id=document_id(source, part),
        text=text,
        source=source.encode("utf-8", "replace").decode(),
        title=title,
        language=language,
        media_type=media_type,
        digest=text_digest(text),
        part=part,
        license=license,
    )


def document_id(source: str, part: str = "") -> str:
    """Return the id of what stands at a part of a source: 16 hexadecimal digits."""
    place = f"{source}\0{part}" if part else source
    return hashlib.sha256(place.encode("utf-8", "surrogateescape")).hexdigest()[:16]


def changed(document: Document, text: str) -> Document:
    """Return the document with another text and its digest."""
    return document._replace(text=text, digest=text_digest(text))


def text_digest(text: str) -> str:
    """Return the SHA-256 of a text, in hexadecimal."""
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def sample(documents: Iterable[Document], total: int, count: int) -> Iterator[Document]:
    """Yield about `count` of `total` documents, or all if they are fewer: chosen by id, so always the same ones."""
    share = count / max(total, 1)
    for document in documents:
        at = int.from_bytes(hashlib.sha256(b"sample:" + document.id.encode()).digest()[:8], "big") / 2**64
        if at < share:
            yield document
