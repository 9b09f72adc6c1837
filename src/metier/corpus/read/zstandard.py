"""Zstandard streams, through Arrow: it is there anyway, and Python has no codec of its own before 3.14."""

from __future__ import annotations

import io
from typing import BinaryIO

from metier.corpus.read.found import CUT_SHORT, DAMAGED, Unreadable


class ZstdReader(io.RawIOBase):
    """The unpacked bytes of a stream of Zstandard frames.

    Raises:
        Unreadable: while reading, where the stream is cut short or damaged.
    """

    def __init__(self, stream: BinaryIO) -> None:
        import pyarrow as pa

        self._stream = pa.CompressedInputStream(pa.PythonFile(stream, mode="r"), "zstd")

    def readable(self) -> bool:
        """Return True."""
        return True

    def read(self, size: int = -1, /) -> bytes:
        """Return up to `size` bytes, b"" at the end."""
        try:
            return bytes(self._stream.read(size if size >= 0 else None))
        except OSError as error:
            if error.errno is not None:
                raise
            raise Unreadable(CUT_SHORT if "Truncated" in str(error) else DAMAGED, str(error)) from None
