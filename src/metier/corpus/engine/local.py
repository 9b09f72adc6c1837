"""The pool on the cores of this machine: processes that are programs of their own.

Not forks: a process that holds threads and locks of Arrow or torch must not be forked, and a script without a
`__main__` guard can start programs. Each worker is a session of its own, so that Ctrl-C reaches only the process that
the user sees, and so that what a worker starts is killed with it.
"""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import suppress
from itertools import chain, islice
from multiprocessing.connection import Connection, Pipe, wait
from types import TracebackType
from typing import Any, NamedTuple, TypeVar

from metier.core import Failure, Work
from metier.corpus.engine.answers import Answer, done_here, lost, meaning
from metier.corpus.engine.pool import AHEAD, CRASHED, FIRST_SECONDS, TOO_LONG, Lost, none_lost
from metier.corpus.engine.worker import READY

T = TypeVar("T")
R = TypeVar("R")

_PROGRAM = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from metier.corpus.engine.worker import main; main(*map(int, sys.argv[2:]))"
)
_START_SECONDS = 300.0  # imports from a cold or shared disk, on a machine that is short of everything
_STARTS = 3  # in a row that may fail: memory may be short for a moment
_MEANWHILE_SECONDS = 1.0
# One thread a worker: the pool uses the cores, and threads that spin at barriers starve each other on busy ones.
_ENVIRONMENT = {
    **dict.fromkeys(["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "METIER_THREADS"], "1"),
    "PYTHONHASHSEED": "0",
    "TOKENIZERS_PARALLELISM": "false",
}
# Memory that a batch no longer needs goes back at once: allocators that keep it held a third more on 2 GB of text. What
# the user has set stays.
_ALLOCATION = {
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": str(1 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(16 << 20),
}


class _Task(NamedTuple):
    number: int
    pickled: bytes
    shown: str
    again: bool = False


class _Worker:
    """One process: starting, idle, or busy with a task until its deadline."""

    def __init__(self, memory_bytes: int) -> None:
        self.connection, theirs = Pipe()
        read_end, self._lifeline = os.pipe()
        inherited = [theirs.fileno(), read_end]
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", _PROGRAM, json.dumps(sys.path), *map(str, inherited), str(memory_bytes)],
            pass_fds=inherited,
            env={**_ALLOCATION, **os.environ, **_ENVIRONMENT},
            stdin=subprocess.DEVNULL,
            stdout=2,  # what a library prints must not mix with what a command prints
            start_new_session=True,
        )
        theirs.close()
        os.close(read_end)
        self.ready = False
        self.task: _Task | None = None
        self.deadline = time.monotonic() + _START_SECONDS
        self._map: int | None = None

    def give(self, task: _Task, map_number: int, function: bytes, seconds: float | None) -> None:
        first = self._map != map_number
        allowed = float("inf") if seconds is None else seconds + (FIRST_SECONDS if first else 0.0)
        self.task, self._map, self.deadline = task, map_number, time.monotonic() + allowed
        # A worker that died between two tasks is found when its answer is taken.
        with suppress(OSError):
            self.connection.send_bytes(pickle.dumps((function if first else None, task.pickled)))

    def take(self) -> Answer | None:
        """Return the answer that has come, or None if the process died instead."""
        try:
            message = self.connection.recv_bytes()
        except (EOFError, OSError):
            return None
        self.deadline = float("inf")
        if message == READY:
            self.ready = True
            return Answer("ready", None)
        answer: Answer = pickle.loads(message)
        return answer

    def end(self) -> None:
        """Kill the process and what it started, and wait for it."""
        self.connection.close()
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.kill()
        self._process.wait()
        os.close(self._lifeline)


class LocalPool:
    """A `Pool` of processes on this machine. They start when a map needs them and stay for the next map.

    Args:
        workers: how many at most.
        memory_bytes: address space of each.
        work: whose events tell of lost tasks.
    """

    def __init__(self, workers: int, memory_bytes: int, work: Work | None = None) -> None:
        self.workers = workers
        self._memory_bytes, self._work = memory_bytes, work
        self._workers: list[_Worker] = []
        self._map_number = self._failed_starts = 0
        self._mapping = False

    def __enter__(self) -> LocalPool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        for worker in self._workers:
            worker.end()
        self._workers.clear()

    def every(
        self, function: Callable[[T], R], tasks: Iterable[T], *, what: str, ahead: int = AHEAD
    ) -> Generator[R, None, None]:
        """Yield results as `map` does. Raises Failure if a task is lost."""
        return none_lost(self.map(function, tasks, ahead=ahead), what)

    def map(
        self,
        function: Callable[[T], R],
        tasks: Iterable[T],
        *,
        seconds: float | None = None,
        ahead: int = AHEAD,
        retry: bool = True,
        isolated: bool = False,
        meanwhile: Callable[[], None] | None = None,
    ) -> Generator[R | Lost, None, None]:
        """Yield what `function` returns for each task, or Lost, in the order of `tasks`; see `Pool.map`."""
        stream = iter(tasks)
        first = list(islice(stream, 2))
        if len(first) == 1 and seconds is None and not isolated and not self._workers:
            yield done_here(function, first[0], self._work)
            return
        if self._mapping:
            raise RuntimeError("one map at a time: finish or close the other one first")
        self._mapping = True
        self._map_number += 1
        run = _Map(self, pickle.dumps(function), self._map_number, seconds, retry, self._work)
        try:
            yield from run.results(chain(first, stream), ahead * self.workers, meanwhile)
        finally:
            self._mapping = False
            for worker in [worker for worker in self._workers if worker.task is not None]:
                self.drop(worker)

    def idle_worker(self, wanted: int) -> _Worker | None:
        """Return a worker without a task, or None; start one if `wanted` tasks are more than will be free."""
        starting = 0
        for worker in self._workers:
            if worker.ready and worker.task is None:
                return worker
            starting += not worker.ready
        while starting < wanted and len(self._workers) < self.workers:
            self._workers.append(_Worker(self._memory_bytes))
            starting += 1
        return None

    @property
    def alive(self) -> list[_Worker]:
        """The workers that are starting or busy."""
        return [worker for worker in self._workers if not worker.ready or worker.task is not None]

    def drop(self, worker: _Worker) -> None:
        """End a worker; a fresh one takes its place when one is needed."""
        worker.end()
        self._workers.remove(worker)

    def started(self, worker: _Worker, failure: str | None = None) -> None:
        """Note whether a worker has started. Raises Failure where several in a row have not."""
        self._failed_starts = self._failed_starts + 1 if failure is not None else 0
        if failure is not None:
            self.drop(worker)
            if self._failed_starts == _STARTS:
                hint = "its last words are above; METIER_THREADS=1 starts fewer of them"
                raise Failure("a worker process could not be started", found=failure, hint=hint)


class _Map:
    """One map under way."""

    def __init__(
        self, pool: LocalPool, function: bytes, number: int, seconds: float | None, retry: bool, work: Work | None
    ) -> None:
        self._pool, self._function, self._number, self._seconds, self._retry = pool, function, number, seconds, retry
        self._work = work
        self._queue: deque[_Task] = deque()
        self._done: dict[int, Any] = {}

    def results(self, tasks: Iterable[Any], ahead: int, meanwhile: Callable[[], None] | None) -> Iterator[Any]:
        todo = enumerate(tasks)
        given = taken = 0
        while True:
            for number, task in islice(todo, ahead - (given - taken)):
                self._queue.append(_Task(number, pickle.dumps(task, pickle.HIGHEST_PROTOCOL), repr(task)))
                given += 1
            if taken == given:
                return
            self._hand_out()
            # Between two results that wait to be taken, finished workers still get their next task.
            self._collect(0.0 if taken in self._done else _MEANWHILE_SECONDS, meanwhile)
            if taken in self._done:
                taken += 1
                yield self._done.pop(taken - 1)

    def _hand_out(self) -> None:
        while self._queue:
            worker = self._pool.idle_worker(len(self._queue))
            if worker is None:
                return
            worker.give(self._queue.popleft(), self._number, self._function, self._seconds)

    def _collect(self, timeout: float, meanwhile: Callable[[], None] | None) -> None:
        alive = {worker.connection: worker for worker in self._pool.alive}
        answered = [alive[one] for one in wait(list(alive), timeout) if isinstance(one, Connection)]
        for worker in answered:
            self._take(worker)
        now = time.monotonic()
        for worker in alive.values():
            if worker not in answered and worker.deadline <= now:
                self._give_up(worker)
        if meanwhile is not None and timeout:
            meanwhile()

    def _take(self, worker: _Worker) -> None:
        answer, task = worker.take(), worker.task
        if task is None:
            self._pool.started(worker, "it ended before its first task" if answer is None else None)
            return
        worker.task = None
        if answer is not None and answer.kind != "memory":
            self._done[task.number] = meaning(answer, task.shown, self._work)
            return
        self._pool.drop(worker)  # what ran out of memory may hold on to much of it
        if self._retry and not task.again:
            self._queue.appendleft(task._replace(again=True))
        elif answer is not None:
            self._done[task.number] = meaning(answer, task.shown, self._work)
        else:
            self._done[task.number] = lost(CRASHED, None, task.shown, self._work)

    def _give_up(self, worker: _Worker) -> None:
        task = worker.task
        if task is None:
            self._pool.started(worker, f"it was not ready after {_START_SECONDS:.0f} seconds")
            return
        self._pool.drop(worker)
        self._done[task.number] = lost(TOO_LONG, None, task.shown, self._work)
