"""The step's side of a reading process: give it files, take its rows, and replace it when a file takes it down."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import BinaryIO, NamedTuple

from metier.core import Failure
from metier.core.errors import from_os_error
from metier.corpus.read.found import CRASHED, TIMED_OUT
from metier.corpus.read.sources import Options
from metier.corpus.read.wire import END, File, Message, Row, Slot, receive, send

# The process needs the parsers, and of the packages they are in no step: those are entered without being run, which
# makes three hundred milliseconds and twenty megabytes less of each process.
_PROGRAM = """
import importlib.util, json, os, sys, types
sys.path[:] = json.loads(sys.argv[1])
home = importlib.util.find_spec("metier").submodule_search_locations[0]
for folders in (["corpus"], ["corpus", "read"]):
    package = types.ModuleType(".".join(["metier", *folders]))
    package.__path__ = [os.path.join(home, *folders)]
    sys.modules[package.__name__] = package
from metier.corpus.read.worker import main
main(*map(int, sys.argv[2:]))
"""
_START_SECONDS = 120.0  # imports from a cold or shared disk
_MOST_OVER = 64_000_000  # a message holds a document, which may grow as it is read, and what waited with it
_MOST_LOSSES = 50  # in one file: beyond that an archive of bad files would keep a process busy for days

Opener = Callable[[File], BinaryIO]


class Limits(NamedTuple):
    """What a reading process may take: seconds without a word, bytes of address space."""

    seconds: float
    memory_bytes: int


class Stopped(Exception):  # noqa: N818 - it is asked for
    """The reader was told to stop."""


class _Lost(Exception):  # noqa: N818 - a finding
    """The process is gone, and why."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Reader:
    """One reading process at a time, replaced when it is lost.

    What takes its process down twice, a file or a member of an archive, is reported and passed over; the first time may
    have been somebody else's doing. What takes too long or too much memory has no second time.

    Args:
        temporary: a folder for what is unpacked.
        opener: opens files that have no path; None where all have one.
    """

    def __init__(self, options: Options, limits: Limits, temporary: Path, opener: Opener | None = None) -> None:
        self._options, self._limits, self._temporary, self._opener = options, limits, temporary, opener
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None
        self._lifeline = -1
        self._slot = Slot()
        self._open: tuple[File, BinaryIO] | None = None
        self._stopped = False

    def read(self, files: Sequence[File], after: Sequence[int] | None = None) -> Iterator[tuple[Row, memoryview]]:
        """Yield the rows of each file and the bytes of their texts, in order, and a row that ends each file.

        Args:
            after: in the first file, what lies up to this place is done.
        """
        todo, blame = deque(files), _Blame()
        while todo:
            self._slot.clear()
            try:
                for row, data in self._attempt(todo, after, blame):
                    after = row.cursor
                    if row.kind == END:
                        todo.popleft()
                        after = None
                    yield row, data
            except _Lost as lost:
                self.end()
                # It dies between two files too: of one that is done there is no more to be said.
                at = self._slot.get()
                first = todo[0].number, ()
                blame.add(at if at is not None and at[0] >= first[0] else first, lost.reason, after)

    def _attempt(
        self, todo: deque[File], after: Sequence[int] | None, blame: _Blame
    ) -> Iterator[tuple[Row, memoryview]]:
        connection = self._connection or self._start()
        try:
            send(connection, "read", files=list(todo), after=after, bad=blame.bad)
        except OSError:
            raise _Lost(CRASHED) from None
        while True:
            message = self._next(connection, self._limits.seconds)
            if message.kind == "rows":
                place = 0
                for fields in message.fields["rows"]:
                    row = Row(*fields)
                    yield row, message.data[place : place + row.size]
                    place += row.size
            elif message.kind == "ask":
                self._answer(connection, message, next(file for file in todo if file.number == message.fields["file"]))
            elif message.kind == "lost":
                raise _Lost(message.fields["reason"])
            elif message.kind == "disk full":
                error = OSError(message.fields["number"], message.fields["text"])
                raise from_os_error(error, "unpacking an archive") or error
            else:  # "done", or "retire": it holds too much memory, and what is left goes to a fresh one
                if message.kind == "retire":
                    self.end()
                return

    def _next(self, connection: Connection, seconds: float) -> Message:
        try:
            if not connection.poll(seconds):
                raise _Lost(TIMED_OUT)
            return receive(connection, _MOST_OVER + 8 * self._options.max_bytes)
        except (EOFError, OSError):
            if self._stopped:
                raise Stopped from None
            raise _Lost(CRASHED) from None
        except ValueError:  # it no longer makes sense
            raise _Lost(CRASHED) from None

    def _answer(self, connection: Connection, message: Message, file: File) -> None:
        """Send the process bytes of a file that only the step can open."""
        assert self._opener is not None
        try:
            if self._open is None or self._open[0] != file:
                self._close()
                self._open = file, self._opener(file)
            stream = self._open[1]
            stream.seek(message.fields["offset"])
            data = stream.read(message.fields["size"])
        except (FileNotFoundError, PermissionError) as error:
            send(connection, "error", number=error.errno or 0, text=error.strerror or type(error).__name__)
            return
        with suppress(OSError):  # it died while it waited: that is found when its answer is taken
            send(connection, "bytes", [data])

    def _start(self) -> Connection:
        if self._stopped:
            raise Stopped
        ours, theirs = Pipe()
        read_end, self._lifeline = os.pipe()
        inherited = [theirs.fileno(), read_end, self._slot.descriptor]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0", "MALLOC_ARENA_MAX": "2"}
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-W", "ignore", "-c", _PROGRAM, json.dumps(sys.path), *map(str, inherited)],
            pass_fds=inherited,
            env={**environment, "TMPDIR": str(self._temporary)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,  # libraries complain of each bad file there
            start_new_session=True,  # Ctrl-C is for the step
        )
        theirs.close()
        os.close(read_end)
        self._connection = ours
        try:
            send(ours, "settings", options=self._options._asdict(), memory_bytes=self._limits.memory_bytes)
            self._next(ours, _START_SECONDS)
        except (_Lost, OSError):
            self.end()
            raise Failure(
                "a reading process could not be started",
                hint="try `python -c 'import metier.corpus.read.worker'` in this environment",
            ) from None
        return ours

    def stop(self) -> None:
        """Have `read` raise Stopped, from another thread."""
        self._stopped = True
        process = self._process
        if process is not None:
            with suppress(ProcessLookupError):
                process.kill()

    def end(self) -> None:
        """Kill the process and what it started, and wait for it."""
        self._close()
        if self._process is None:
            return
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.kill()
        self._process.wait()
        os.close(self._lifeline)
        if self._connection is not None:
            self._connection.close()
        self._process = self._connection = None

    def close(self) -> None:
        """End for good."""
        self.end()
        self._slot.close()

    def _close(self) -> None:
        if self._open is not None:
            with suppress(OSError):
                self._open[1].close()
            self._open = None


class _Blame:
    """What was being read when processes were lost, and what of it is to blame."""

    def __init__(self) -> None:
        self.bad: list[tuple[int, tuple[int, ...], str]] = []
        self._last: tuple[object, ...] = ()
        self._losses: Counter[int] = Counter()

    def add(self, at: tuple[int, tuple[int, ...]], reason: str, after: Sequence[int] | None) -> None:
        """Count a loss at a place, `after` being how far its file had come."""
        loss = (at, after)
        self._losses[at[0]] += 1
        if self._losses[at[0]] >= _MOST_LOSSES:
            self.bad.append((at[0], (), "reader crashed too often"))
        elif reason != CRASHED or loss == self._last:
            self.bad.append((*at, reason))
        self._last = loss
