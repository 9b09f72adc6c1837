"""The bytes under a web archive: a raw stream, the gzip members in it, and a reader of lines with push-back."""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable
from typing import BinaryIO

_MAGIC = b"\x1f\x8b\x08"
_BLOCK = 1 << 16
_INFLATED = 1 << 20
_LINE = 1 << 16


class Broken(Exception):  # noqa: N818 - a finding about a record, not a fault
    """A record is not what it should be; the message is the reason, as it stands in a ledger."""


class Raw:
    """A stream read in blocks, with the last two kept so that a search can begin a little before the damage."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._recent, self._held = b"", b""
        self.offset = 0

    @classmethod
    def of(cls, data: bytes) -> Raw:
        """Return a stream of bytes in memory."""
        return cls(io.BytesIO(data))

    def is_gzip(self) -> bool:
        """Say whether a gzip member begins here."""
        return self._peek(len(_MAGIC)) == _MAGIC

    def at_end(self) -> bool:
        """Say whether no bytes are left."""
        return not self._peek(1)

    def block(self) -> bytes:
        """Return the next bytes, none at the end."""
        data = self._held or self._stream.read(_BLOCK)
        self._held = b""
        self._recent = (self._recent + data)[-2 * _BLOCK :]
        self.offset += len(data)
        return data

    def push_back(self, data: bytes) -> None:
        """Take back the last bytes that `block` returned."""
        self._held = data + self._held
        self._recent = self._recent[: len(self._recent) - len(data)]
        self.offset -= len(data)

    def seek_member(self, at_least: int) -> None:
        """Go to the next place that could begin a gzip member, at or after byte `at_least`; else to the end.

        Of what was read already only the last 128 KiB are searched.
        """
        back = min(len(self._recent), max(0, self.offset - at_least))
        self.push_back(self._recent[len(self._recent) - back :])
        while not self.at_end():
            found = self._held.find(_MAGIC)
            if found >= 0:
                rest = self.block()[found:]
                self.push_back(rest)
                return
            tail = self.block()[-(len(_MAGIC) - 1) :]
            more = self.block()
            self.push_back(tail + more if more else b"")

    def _peek(self, count: int) -> bytes:
        while len(self._held) < count:
            data = self._stream.read(_BLOCK)
            if not data:
                break
            self._held += data
        return self._held[:count]


class Inflated:
    """One gzip member of a raw stream, a megabyte at a time, whatever it would expand to."""

    def __init__(self, raw: Raw) -> None:
        self._raw, self._inflate, self._tail = raw, zlib.decompressobj(31), b""
        self._done = False

    def block(self) -> bytes:
        """Return the next bytes, none at the member's end; the raw stream then stands behind it.

        Raises:
            zlib.error: the member is damaged. EOFError: it is cut short.
        """
        while not self._done:
            data = self._tail or self._raw.block()
            if not data:
                raise EOFError
            found = self._inflate.decompress(data, _INFLATED)
            self._tail = self._inflate.unconsumed_tail
            self._done = self._inflate.eof
            if self._done:
                self._raw.push_back(self._inflate.unused_data)
            if found:
                return found
        return b""


class Reader:
    """Lines and counted bytes of a source of blocks.

    Args:
        block: returns the next bytes, none at the end.
    """

    def __init__(self, block: Callable[[], bytes]) -> None:
        self._block = block
        self._held, self._at = b"", 0
        self.offset = 0

    def at_end(self) -> bool:
        """Say whether no bytes are left."""
        return not self._fill(1)

    def peek(self, count: int) -> bytes:
        """Return the next `count` bytes, or fewer at the end, and stay before them."""
        self._fill(count)
        return self._held[self._at : self._at + count]

    def skip_line_ends(self) -> None:
        """Pass over line ends."""
        while self.peek(1) in (b"\r", b"\n"):
            self._taken(1)

    def line(self) -> bytes:
        """Return the next line with its end, at most 64 KiB; b"" at the end."""
        while True:
            end = self._held.find(b"\n", self._at, self._at + _LINE)
            if end >= 0:
                return self._taken(end + 1 - self._at)
            count = len(self._held) - self._at
            if count >= _LINE or not self._fill(count + 1):
                return self._taken(min(count, _LINE))

    def take(self, count: int) -> bytes:
        """Return `count` bytes. Raises EOFError if there are fewer."""
        if len(self._held) - self._at < count:
            parts = [self._held[self._at :]]
            have = len(parts[0])
            while have < count:
                data = self._block()
                if not data:
                    self._held, self._at = b"".join(parts), 0
                    raise EOFError
                parts.append(data)
                have += len(data)
            self._held, self._at = b"".join(parts), 0
        return self._taken(count)

    def skip(self, count: int) -> None:
        """Pass over `count` bytes without keeping them. Raises EOFError if there are fewer."""
        while count > 0:
            if not self._fill(1):
                raise EOFError
            step = min(count, len(self._held) - self._at)
            self._at, self.offset, count = self._at + step, self.offset + step, count - step

    def push_back(self, data: bytes) -> None:
        """Put bytes that were taken in front of the rest."""
        self._held, self._at = data + self._held[self._at :], 0
        self.offset -= len(data)

    def seek(self, wanted: bytes) -> None:
        """Go to the next place where `wanted` stands, or to the end."""
        while self._fill(len(wanted)):
            found = self._held.find(wanted, self._at)
            if found >= 0:
                self._taken(found - self._at)
                return
            self._taken(len(self._held) - self._at - len(wanted) + 1)
        self._taken(len(self._held) - self._at)

    def _fill(self, count: int) -> bool:
        """Have at least `count` bytes in hand; False if there are not so many."""
        while len(self._held) - self._at < count:
            data = self._block()
            if not data:
                return False
            self._held, self._at = self._held[self._at :] + data, 0
        return True

    def _taken(self, count: int) -> bytes:
        data = self._held[self._at : self._at + count]
        self._at += len(data)
        self.offset += len(data)
        return data
