"""A thing to be read: a file, a member of an archive, an attachment. And the limits that reading keeps to."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import BinaryIO, NamedTuple, Protocol

from metier.corpus.read.found import TOO_LARGE, Bomb, Unreadable

_BUFFER = 1 << 18
_FREE_BYTES = 64_000_000  # an archive may unpack to this much whatever its size: small ones compress well
_PIECE = 4_000_000
HEAD = 8192


class Options(NamedTuple):
    """What the step says about reading; sent to every reading process.

    max_bytes: of one document's file or member, of one row. max_ratio, max_unpacked_bytes: what an archive and all that
    is nested in it may unpack to, against its size and at all. max_unbroken: characters without white space.
    """

    include: tuple[str, ...] = ("*",)
    exclude: tuple[str, ...] = ()
    column: str = "text"
    title_column: str | None = None
    language_column: str | None = None
    license_column: str | None = None
    language: str | None = None
    license: str | None = None
    split_pages: bool = False
    max_bytes: int = 100_000_000
    max_unbroken: int | None = 1_000_000
    max_ratio: float = 200.0
    max_unpacked_bytes: int = 100_000_000_000
    max_members: int = 500_000
    max_nesting: int = 4
    readers: Mapping[str, str] = {}


class Budget:
    """How much more a file may unpack to, over all that is nested in it."""

    def __init__(self, size: int | None, options: Options) -> None:
        by_ratio = _FREE_BYTES + int(options.max_ratio * (size or 0))
        self._allowed = self._left = min(by_ratio, options.max_unpacked_bytes)

    def take(self, count: int) -> None:
        """Count unpacked bytes. Raises Bomb once they are too many."""
        self._left -= count
        if self._left < 0:
            raise Bomb(f"over {self._allowed:,} bytes")


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class Unpacked(io.RawIOBase):
    """A stream of unpacked bytes that are counted against a budget."""

    def __init__(self, stream: _Readable, budget: Budget) -> None:
        self._stream, self._budget = stream, budget

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override]
        """Fill `buffer` and return how much came."""
        data = self._stream.read(len(buffer))
        self._budget.take(len(data))
        buffer[: len(data)] = data
        return len(data)


@dataclass(frozen=True)
class Source:
    """Bytes to be read, once, from their beginning.

    Args:
        name: where they come from, relative to what the step reads: "a/b.zip!/c.txt". It is the documents' source.
        stream: a buffered stream; seekable only where the file lies open.
        size: bytes, where known.
        license: of the folder it lies in.
        depth: archives it is nested in.
        part: of `name`, for all that is in it.
        media_type, charset: what somebody claims: a mail, a web server. Believed where the content does not object.
        inner_name: its file name, where `name` does not end with it.
        chosen: whether it is read whatever the patterns of names say.
    """

    name: str
    stream: BinaryIO
    budget: Budget
    size: int | None = None
    license: str | None = None
    depth: int = 0
    part: str = ""
    media_type: str = ""
    charset: str | None = None
    inner_name: str = ""
    chosen: bool = False

    @property
    def file_name(self) -> str:
        """The name whose suffix tells the kind: the last part of `name`, less the suffixes of compressions."""
        return self.inner_name or self.name.rpartition("!/")[2].rpartition("/")[2]

    def head(self, size: int = HEAD) -> bytes:
        """Return the first bytes without consuming them."""
        peek = getattr(self.stream, "peek", None)
        return bytes(peek(size)[:size]) if peek is not None else b""

    def data(self, limit: int) -> bytes:
        """Return all bytes. Raises Unreadable if they are more than `limit`."""
        if self.size is not None and self.size > limit:
            raise Unreadable(TOO_LARGE)
        # In pieces: one call makes room for as much as may come, whatever does.
        pieces, left, want = list[bytes](), limit + 1, _PIECE if self.size is None else self.size + 1
        while left and (piece := self.stream.read(min(left, want))):
            pieces.append(piece)
            left, want = left - len(piece), _PIECE
        if not left:
            raise Unreadable(TOO_LARGE)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def seekable(self) -> BinaryIO:
        """Return a stream that can seek: the file itself, or a copy in memory, or on disk if it is large."""
        if self.stream.seekable():
            return self.stream
        import shutil
        import tempfile

        copy = tempfile.SpooledTemporaryFile(max_size=16_000_000)  # noqa: SIM115 - lives as long as the source
        shutil.copyfileobj(self.stream, copy, _BUFFER)
        copy.seek(0)
        return copy  # type: ignore[return-value]

    def member(
        self,
        name: str,
        stream: _Readable,
        *,
        size: int | None = None,
        license: str | None = None,
        media_type: str = "",
        charset: str | None = None,
    ) -> Source:
        """Return a source inside this one, its bytes counted against the same budget."""
        return Source(
            name=f"{self.name}!/{name}",
            stream=io.BufferedReader(Unpacked(stream, self.budget), _BUFFER),
            budget=self.budget,
            size=size,
            license=license or self.license,
            depth=self.depth + 1,
            media_type=media_type,
            charset=charset,
        )

    def unpacked(self, inner_name: str, stream: _Readable) -> Source:
        """Return what a compressed file holds: the same source under a name without the compression's suffix."""
        raw = io.BufferedReader(Unpacked(stream, self.budget), _BUFFER)
        return replace(self, stream=raw, size=None, depth=self.depth + 1, inner_name=inner_name, media_type="")
