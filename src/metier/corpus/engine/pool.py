"""Call one function on many tasks: in processes of their own on this machine, or on a cluster.

    with open_pool(work.host, work) as pool:
        for counts in pool.every(count_words, documents.shards, what="counting words"):
            ...

What holds on either:

- Results come in the order of the tasks, and at most `ahead` tasks a worker are handed out before the oldest is taken,
  so neither tasks nor results pile up. Tasks may come from a generator of any length.
- The function, the tasks and the results travel by pickle. The function is one that a worker can import (a function of
  a module, `functools.partial` of one, or an instance of a frozen class), and it is sent once a worker. A task names
  its data (a shard, a range of rows) rather than holding it; a large result is a file in `work.folder`, which every
  worker of a cluster sees.
- A task whose worker dies (a crash, the memory limit, a machine that is gone) is done once more by a fresh worker. If
  that one dies too, the task comes back as `Lost` and the rest goes on. So a function must bear to be called twice, and
  writes files whole or not at all.
- A task that takes longer than `seconds` is stopped and comes back as `Lost`; so does one whose function raises, with
  the traceback in `Lost.detail` and as an event of `work`. Neither is tried again. A `Problem` is meant for the user,
  and a full disk is one: both end the map and are raised here.
- However the block is left, the workers are killed and waited for. They also die with this process, `kill -9` included.

A single task without a time limit runs in this process unless it must be `isolated`: on a small corpus that saves the
half second in which a worker starts, and it protects against no crash.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from typing import NamedTuple, Protocol, TypeVar

from metier.core import Failure, Host, Work

T = TypeVar("T")
R = TypeVar("R")

CRASHED = "worker crashed"
TOO_LONG = "took too long"
NO_MEMORY = "took too much memory"
FAILED = "failed"

AHEAD = 4
"""Tasks handed out for each worker, the one it is doing included."""

FIRST_SECONDS = 60.0
"""What a worker's first task of a map may take more: it loads what the function needs, a model or a gazetteer."""


class Lost(NamedTuple):
    """What stands for the result of a task that could not be done.

    `reason` is CRASHED, TOO_LONG, NO_MEMORY, or FAILED with the kind of exception ("failed (ValueError)"); `detail` is
    the traceback, where there is one.
    """

    reason: str
    detail: str | None = None


class Pool(Protocol):
    """Workers that call functions. One map at a time; a map that is left early stops the tasks it has handed out."""

    workers: int

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
        """Yield what `function` returns for each task, or Lost, in the order of `tasks`.

        Args:
            seconds: how long one task may take, a worker's first one FIRST_SECONDS longer; None is for ever.
            ahead: tasks handed out for each worker before the oldest result is taken, the one it is doing included.
            retry: whether a task whose worker died is done once more.
            isolated: whether even a single task must run in a worker.
            meanwhile: called about once a second while results are waited for.

        Raises:
            Problem: what the function raised as one, or a disk that is full or read-only.
            Mistake: the function cannot be imported by a worker.
        """
        ...

    def every(
        self, function: Callable[[T], R], tasks: Iterable[T], *, what: str, ahead: int = AHEAD
    ) -> Generator[R, None, None]:
        """Yield results as `map` does, for work in which every task counts. Raises Failure if one is lost.

        Args:
            what: the work, for the message ("counting words").
        """
        ...


@contextmanager
def open_pool(
    host: Host, work: Work | None = None, *, workers: int | None = None, memory_bytes: int | None = None
) -> Iterator[Pool]:
    """Open the pool that `host` offers: its cluster where it has one, else processes on its cores.

    Args:
        work: the step at work. Its events tell of lost tasks, and workers of a cluster are asked whether they see its
            folder.
        workers: processes on this machine; None is one for each of the host's threads, though no more than have a GiB
            of memory each. On a cluster it is one for each of its CPUs.
        memory_bytes: address space of one worker; beyond it a task comes back as Lost. None is an even share of the
            machine's memory, and at least 4 GiB. On a cluster, what Ray sets aside for each task.

    Raises:
        Mistake: there is no cluster where the host says that one is.
    """
    from metier.corpus.engine.local import LocalPool

    if host.cluster is not None:
        from metier.corpus.engine.cluster import RayPool

        if work is None:
            raise TypeError("a pool on a cluster needs the step's work")
        with RayPool(host.cluster, work, memory_bytes) as remote:
            yield remote
        return
    count = workers or max(1, min(host.threads, host.memory_bytes >> 30))
    share = memory_bytes or max(4 << 30, host.memory_bytes // count)
    with LocalPool(count, share, work) as pool:
        yield pool


def none_lost(results: Generator[R | Lost, None, None], what: str) -> Generator[R, None, None]:
    """Yield the results. Raises Failure at the first that is Lost, and stops the others."""
    with closing(results):
        for result in results:
            if isinstance(result, Lost):
                last_line = (result.detail or "").strip().rpartition("\n")[2]
                raise Failure(
                    f"{what} could not be finished: {result.reason}",
                    found=last_line or None,
                    hint="what is finished is kept: run the same command again, and report it if it happens again",
                )
            yield result
