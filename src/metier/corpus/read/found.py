"""What reading a file gives: contents, or reasons why there are none."""

from __future__ import annotations

import zlib
from typing import NamedTuple

from metier.corpus.charset import Undecodable

TIMED_OUT = "reading took too long"
CRASHED = "reader crashed"
NO_MEMORY = "reading took too much memory"
TOO_LARGE = "larger than the limit"
LOCKED = "locked by a password"
CUT_SHORT = "compressed file cut short"
DAMAGED = "damaged archive"
BOMB = "unpacks to more than the limit"
NO_TEXT = "no text in it"


class Content(NamedTuple):
    """One document's text (Markdown where it has structure), and what is known about it.

    `part` is the page, sheet, row or message of the file, "" for the whole of it.
    """

    text: str
    title: str = ""
    media_type: str = "text/plain"
    part: str = ""
    language: str | None = None
    license: str | None = None


class Unread(NamedTuple):
    """Why a file or a part of it gave no document.

    `reason` is a ledger's key, so it names a kind and never one file; `detail` is for the listing.
    """

    reason: str
    part: str = ""
    detail: str = ""


class Unreadable(Exception):  # noqa: N818 - it is a finding about a file, not a fault
    """What is being read gives no document, or no further one; `reason` and `detail` are those of Unread."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.reason, self.detail = reason, detail


class Bomb(Exception):  # noqa: N818 - as above
    """An archive unpacks to more than any honest one: the whole file is given up."""


def why_unread(error: Exception) -> Unread:
    """Return the finding behind an exception that a reader met, its own or a library's."""
    if isinstance(error, Unreadable):
        return Unread(error.reason, detail=error.detail)
    if isinstance(error, Undecodable):
        return Unread(str(error), detail=error.detail)
    if isinstance(error, Bomb):
        return Unread(BOMB, detail=str(error))
    kind, said = type(error).__name__, _one_line(error)
    if isinstance(error, EOFError) or "unexpected end of data" in said:
        return Unread(CUT_SHORT)
    if isinstance(error, zlib.error) or kind in ("BadGzipFile", "LZMAError", "BadZipFile", "ReadError"):
        return Unread(DAMAGED, detail=said)
    if isinstance(error, RecursionError):
        return Unread("nested too deeply")
    if isinstance(error, OSError) and error.strerror:
        return Unread(f"unreadable file ({error.strerror})")
    return Unread(f"reader failed ({kind})", detail=said)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
