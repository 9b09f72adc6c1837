"""Read files in several processes, each file under a time limit, results in the order of the files.

The workers are programs of their own (`python -m metier.corpus.workers FD`) rather than forks, so that a parser that
hangs, grows without bound or crashes takes nothing with it, and a script without a `__main__` guard can start them.
POSIX only: the connection is an inherited file descriptor.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from metier.corpus.formats import Content, Unread, read_file

TIMED_OUT = Unread("reading took too long")
CRASHED = Unread("reader crashed")
_START_SECONDS = 30.0
_AHEAD = 64  # files a worker may be ahead of the oldest unfinished one: bounds what waits in memory


class Limits(NamedTuple):
    """What one file may cost."""

    seconds: float
    bytes: int
    memory_bytes: int


class _Worker:
    """One process, and the file it is reading."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.connection, theirs = _pair()
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
        command = [sys.executable, "-m", "metier.corpus.workers", str(theirs.fileno())]
        self._process = subprocess.Popen(command, pass_fds=[theirs.fileno()], env=environment, stdin=subprocess.DEVNULL)
        theirs.close()
        self.number: int | None = None
        # The first file pays for the start of the process and its imports.
        self._seconds = limits.seconds + _START_SECONDS
        self.deadline = float("inf")
        self.connection.send(limits)

    def give(self, number: int, path: Path) -> None:
        self.number, self.deadline = number, time.monotonic() + self._seconds
        self._seconds = self._limits.seconds
        # A process that died between two files is found when its answer is taken.
        with suppress(OSError):
            self.connection.send(path)

    def take(self) -> Content | Unread:
        self.number, self.deadline = None, float("inf")
        try:
            answer: Content | Unread = self.connection.recv()
        except (EOFError, OSError):
            return CRASHED
        return answer

    def end(self) -> None:
        self.connection.close()
        self._process.kill()
        self._process.wait()


class Readers:
    """A pool of reading processes.

    Args:
        count: processes.
        limits: what one file may cost; beyond it the file is Unread, and the next one goes to a fresh process.
    """

    def __init__(self, count: int, limits: Limits) -> None:
        self._count, self._limits = max(1, count), limits
        self._workers: list[_Worker] = []

    def __enter__(self) -> Readers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        for worker in self._workers:
            worker.end()
        self._workers.clear()

    def read(self, paths: Iterable[Path]) -> Iterator[Content | Unread]:
        """Yield what each file holds, in the order of `paths`."""
        todo = enumerate(paths)
        done: dict[int, Content | Unread] = {}
        waiting: deque[int] = deque()
        while True:
            self._hand_out(todo, waiting)
            if not waiting:
                return
            while waiting and waiting[0] in done:
                yield done.pop(waiting.popleft())
            if waiting:
                self._collect(done)

    def _hand_out(self, todo: Iterator[tuple[int, Path]], waiting: deque[int]) -> None:
        while len(waiting) < _AHEAD * self._count:
            worker = next((worker for worker in self._workers if worker.number is None), None)
            if worker is None and len(self._workers) == self._count:
                return
            task = next(todo, None)
            if task is None:
                return
            if worker is None:
                worker = _Worker(self._limits)
                self._workers.append(worker)
            waiting.append(task[0])
            worker.give(*task)

    def _collect(self, done: dict[int, Content | Unread]) -> None:
        busy = {worker.connection: worker for worker in self._workers if worker.number is not None}
        next_deadline = min(worker.deadline for worker in busy.values())
        ready = wait(list(busy), timeout=max(0.0, next_deadline - time.monotonic()))
        for connection in ready:
            worker = busy[connection]  # type: ignore[index]
            number = worker.number
            assert number is not None
            done[number] = worker.take()
            if done[number] is CRASHED:
                self._replace(worker)
        now = time.monotonic()
        for worker in list(self._workers):
            if worker.number is not None and worker.deadline <= now:
                done[worker.number] = TIMED_OUT
                self._replace(worker)

    def _replace(self, worker: _Worker) -> None:
        worker.end()
        self._workers.remove(worker)


def _pair() -> tuple[Connection, Connection]:
    from multiprocessing import Pipe

    return Pipe(duplex=True)


def _serve(descriptor: int) -> None:
    """Answer every path on the connection with its content, until it is closed."""
    connection: Connection = Connection(descriptor)
    limits: Limits = connection.recv()
    _bound_memory(limits.memory_bytes)
    while True:
        try:
            path: Path = connection.recv()
        except EOFError:
            return
        try:
            answer: Content | Unread = read_file(path, limits.bytes)
        except MemoryError:
            answer = Unread("reading took too much memory")
        except Exception as error:
            # Parsers fail in their own ways; the file goes to the ledger by the kind of failure and the rest goes on.
            answer = Unread(f"reader failed ({type(error).__name__})")
        connection.send(answer)


def _bound_memory(limit_bytes: int) -> None:
    import resource

    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    limit = limit_bytes if hard == resource.RLIM_INFINITY else min(limit_bytes, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))


if __name__ == "__main__":
    _serve(int(sys.argv[1]))
