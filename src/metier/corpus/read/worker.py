"""A reading process: a program of its own, so that a parser that hangs, grows or crashes takes nothing with it.

It answers each task (a list of files) with rows, in order and in messages of about a megabyte, and with "done". It
dies with the process that started it. POSIX.
"""

from __future__ import annotations

import errno
import io
import os
import resource
import stat
import sys
import time
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

from metier.corpus.documents import new_document
from metier.corpus.read.found import NO_MEMORY, Unread, why_unread
from metier.corpus.read.sources import Budget, Options, Source
from metier.corpus.read.walk import Course, Cursor, Item, raise_if_disk_full, walk
from metier.corpus.read.wire import DOCUMENT, END, UNREAD, File, Row, Slot, receive, send

_BATCH_BYTES, _BATCH_ROWS, _BATCH_SECONDS = 1_000_000, 256, 1.0
_TITLE = 500  # characters
_RETIRE_BYTES = 400_000_000  # a process that holds more after a file makes room for a fresh one


class _Outbox:
    """Rows on their way, some at a time."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._rows: list[Row] = []
        self._texts: list[bytes] = []
        self._size, self._since = 0, time.monotonic()

    def add(self, row: Row, text: bytes = b"") -> None:
        """Send a row, sooner or later."""
        self._rows.append(row._replace(size=len(text)))
        self._texts.append(text)
        self._size += len(text)
        late = time.monotonic() - self._since > _BATCH_SECONDS
        if self._size >= _BATCH_BYTES or len(self._rows) >= _BATCH_ROWS or late:
            self.flush()

    def flush(self) -> None:
        """Send what waits, and if nothing does, that the reading goes on."""
        send(self._connection, "rows", self._texts, rows=self._rows)
        self._rows, self._texts, self._size, self._since = [], [], 0, time.monotonic()


def main(connection_number: int, lifeline: int, slot: int) -> None:
    """Serve a connection until it is closed. The arguments are inherited file descriptors."""
    _die_with(lifeline)
    connection: Connection[Any, Any] = Connection(connection_number)
    place = Slot(slot)
    settings = receive(connection).fields
    options = Options(**settings["options"])
    options = options._replace(include=tuple(options.include), exclude=tuple(options.exclude))
    _bound_memory(settings["memory_bytes"])
    send(connection, "ready")
    while True:
        try:
            task = receive(connection).fields
        except EOFError:
            return
        outbox = _Outbox(connection)
        after: Cursor | None = tuple(task["after"]) if task["after"] is not None else None
        bad: dict[int, dict[Cursor, str]] = {}
        for number, cursor, reason in task["bad"]:
            bad.setdefault(number, {})[tuple(cursor)] = reason
        for fields in task["files"]:
            file = File(*fields)
            course = Course(after, bad.get(file.number, {}), partial(place.set, file.number))
            if not _read(file, options, course, outbox, connection):
                send(connection, "retire")
                return
            after = None
        outbox.flush()
        send(connection, "done")


def _read(file: File, options: Options, course: Course, outbox: _Outbox, connection: Connection) -> bool:
    """Read one file and say whether this process may read another."""
    try:
        with _open(file, connection) as stream:
            size = file.size if file.path is None else os.fstat(stream.fileno()).st_size
            source = Source(file.name, stream, Budget(size, options), size, file.license)
            for item in walk(source, options, course):
                outbox.add(*_row(file.number, item, options))
    except MemoryError:
        # What was read before is whole. What else is broken in this process, nobody knows.
        outbox.flush()
        send(connection, "lost", reason=NO_MEMORY)
        sys.exit()
    except OSError as error:
        _end_if_disk_full(error, connection)
        outbox.add(*_row(file.number, Item((0,), file.name, why_unread(error)), options))
    outbox.add(Row(file.number, [], END))
    if _resident_bytes() > _RETIRE_BYTES:
        outbox.flush()
        return False
    return True


def _row(number: int, item: Item, options: Options) -> tuple[Row, bytes]:
    found, cursor = item.found, list(item.cursor)
    part = _storable(found.part) or ""
    if isinstance(found, Unread):
        shown = _storable(item.source) or ""
        return Row(number, cursor, UNREAD, shown, part, reason=found.reason, detail=_storable(found.detail)), b""
    document = new_document(
        item.source,
        _storable(found.text) or "",
        (_storable(found.title) or "")[:_TITLE],
        found.media_type,
        _storable(found.language or options.language),
        part=part,
        license=_storable(found.license or options.license),
    )
    row = Row(
        number, cursor, DOCUMENT, document.source, document.part, document.id, " ".join(document.title.split()),
        document.language, document.media_type, document.license, document.digest,
    )  # fmt: skip
    return row, document.text.encode()


def _storable(text: str | None) -> str | None:
    """Return a text that UTF-8 can write: a PDF, JSON or a file's name may hold half of a surrogate pair."""
    return text if text is None or text.isascii() else text.encode("utf-8", "replace").decode()


def _open(file: File, connection: Connection) -> io.BufferedReader:
    if file.path is None:
        return io.BufferedReader(_Asked(connection, file.number, file.size or 0), 1 << 20)
    # Not blocking: opening a pipe that somebody put in a file's place would wait for ever.
    descriptor = os.open(file.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    stream = os.fdopen(descriptor, "rb")
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        stream.close()
        raise OSError(errno.EINVAL, "not a regular file")
    return stream


class _Asked(io.RawIOBase):
    """A file that the step holds open, read by asking for its bytes."""

    def __init__(self, connection: Connection, number: int, size: int) -> None:
        self._connection, self._number, self._size, self._at = connection, number, size, 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Go to a place and return it."""
        self._at = offset + (0, self._at, self._size)[whence]
        return self._at

    def tell(self) -> int:
        """Return the place."""
        return self._at

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override]
        """Fill `buffer` and return how much came."""
        send(self._connection, "ask", file=self._number, offset=self._at, size=len(buffer))
        answer = receive(self._connection)
        if answer.kind == "error":
            raise OSError(answer.fields["number"], answer.fields["text"])
        buffer[: len(answer.data)] = answer.data
        self._at += len(answer.data)
        return len(answer.data)


def _end_if_disk_full(error: OSError, connection: Connection) -> None:
    """End this process if there is no room for what a file unpacks to: that says nothing about the file."""
    try:
        raise_if_disk_full(error)
    except OSError:
        send(connection, "disk full", number=error.errno, text=error.strerror)
        sys.exit(1)


def _resident_bytes() -> int:
    try:
        with open("/proc/self/statm", "rb") as stream:  # noqa: PTH123 - once a file: no time for a Path
            return int(stream.read().split()[1]) * resource.getpagesize()
    except OSError:
        return 0


def _bound_memory(limit_bytes: int) -> None:
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    limit = limit_bytes if hard == resource.RLIM_INFINITY else min(limit_bytes, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))


def _die_with(lifeline: int) -> None:
    """Have the kernel end this process when the other end of the pipe closes, even in code that never returns."""
    import fcntl
    import select

    fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)
    # It may have closed before the kernel knew that we want to hear of it.
    if select.select([lifeline], [], [], 0)[0]:
        sys.exit()
