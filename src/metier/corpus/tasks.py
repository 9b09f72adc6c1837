"""Do tasks over shards: in the pool's workers, or in this process where that is quicker than starting one."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, TypeVar

from metier.core import Work

T = TypeVar("T")
R = TypeVar("R")

_SMALL_BYTES = 1_000_000  # on disk


class Tasks(Protocol):
    """What does tasks, as `metier.corpus.engine.pool.Pool` does."""

    def every(self, function: Callable[[T], R], tasks: Iterable[T], *, what: str) -> Generator[R, None, None]:
        """Yield results in the order of the tasks. Raises Failure if one is lost."""
        ...


class _Here:
    def every(self, function: Callable[[T], R], tasks: Iterable[T], *, what: str) -> Generator[R, None, None]:
        for task in tasks:
            yield function(task)


def done_apart(work: Work, shards: Sequence[Path], function: Callable[[T], R], task: T, what: str) -> R:
    """Return `function(task)`, called in a process that ends with it: what it imports or loads takes no more memory.

    Of shards that are less than a megabyte together it is called here.
    """
    from metier.corpus.engine.pool import none_lost, open_pool

    if _are_small(shards):
        return function(task)
    with open_pool(work.host, work, workers=1) as pool:
        return next(none_lost(pool.map(function, [task], isolated=True), what))


@contextmanager
def tasks_over(work: Work, shards: Sequence[Path]) -> Iterator[Tasks]:
    """Open the pool of the work's host, or do the tasks here if the shards are less than a megabyte together."""
    from metier.corpus.engine.pool import open_pool

    if _are_small(shards):
        yield _Here()
    else:
        with open_pool(work.host, work) as pool:
            yield pool


def _are_small(shards: Sequence[Path]) -> bool:
    return sum(shard.stat().st_size for shard in shards) < _SMALL_BYTES
