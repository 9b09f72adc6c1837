"""Lines of a stream that may hold a line of any length."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

_CHUNK = 1 << 20


def bounded_lines(stream: BinaryIO, limit: int) -> Iterator[bytes | None]:
    """Yield the lines of a stream with their ends, None for each that is longer than `limit` bytes.

    Of a line that is too long no more than `limit` bytes are in memory.
    """
    while True:
        line = stream.readline(limit + 1)
        if not line:
            return
        if len(line) <= limit or line.endswith(b"\n"):
            yield line
            continue
        del line
        while (more := stream.readline(_CHUNK)) and not more.endswith(b"\n"):
            pass
        yield None
