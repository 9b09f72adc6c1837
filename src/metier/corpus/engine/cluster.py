"""The pool on a Ray cluster: tasks of Ray's own, over shards on storage that every machine sees.

Why Ray's tasks, and neither Ray Data nor Daft on Ray. All three were tried here with one rule over the same 250 MB in
nine shards, on two Ray nodes of one core each (Ray 2.59 and 2.60, Daft 0.7.26, November 2026):

- One document that kills its worker: Ray Data does the block again for ever ("infinite retries remaining"), and Daft
  had not ended after 200 seconds. Ray's tasks tell of the death, so `apply` finds the document and leaves it out.
- Order and files: Daft gave the rows in another order, and both name files at random and cut them as they like. An
  artifact here is the same to the byte wherever it is made, one shard for each shard.
- Cost: 23 s and 0.4 GB above an idle cluster for tasks, 36 s and 0.9 GB for Ray Data, 24 s and 0.6 GB for Daft. Daft
  0.7.26 also wants pyarrow below 26 and Ray below 2.60.

What they would add, a query planner and a shuffle, nothing here needs: steps exchange data through files of the
artifact. Only names and counts go through Ray, so its object store can be small.
"""

from __future__ import annotations

import os
import pickle
import socket
import uuid
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import suppress
from itertools import chain, islice
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from metier.core import Mistake, Work
from metier.corpus.engine import remote
from metier.corpus.engine.answers import Answer, done_here, lost, meaning
from metier.corpus.engine.pool import AHEAD, CRASHED, FIRST_SECONDS, NO_MEMORY, TOO_LONG, Lost, none_lost

T = TypeVar("T")
R = TypeVar("R")

_SCRATCH = ".scratch-cluster"
_HINT = "`ray status` on a machine of the cluster says whether it is up; see docs/how-to/run-on-a-cluster.md"
_WAIT_SECONDS = 1.0
_KNOCK_SECONDS = 10.0


class RayPool:
    """A `Pool` whose workers are those of a Ray cluster, one a CPU.

    Args:
        address: what `ray.init` takes ("auto", "host:6379", "ray://host:10001").
        work: the step at work. Every machine must see its folder at the same path; its events tell of lost tasks.
        memory_bytes: what Ray sets aside for each task; None is nothing.

    Raises:
        Mistake: Ray is not installed here, or there is no cluster at that address.
    """

    def __init__(self, address: str, work: Work, memory_bytes: int | None = None) -> None:
        self._address, self._work, self._memory_bytes = address, work, memory_bytes
        self._scratch = work.folder.absolute() / _SCRATCH
        self.workers = 1

    def __enter__(self) -> RayPool:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # read when Ray is imported: it would report its use
        try:
            import ray
        except ImportError:
            hint = "pip install 'metier[cluster]'"
            raise Mistake("METIER_CLUSTER is set, but Ray is not installed", found=self._address, hint=hint) from None
        token = self._scratch / uuid.uuid4().hex  # only this very folder can hold it
        self._scratch.mkdir(parents=True, exist_ok=True)
        token.touch()
        self._site = remote.Site.here(token)
        self._ray, self._joined = ray, not ray.is_initialized()
        if self._joined:
            try:
                _knock(self._address)
                # A client of a cluster hands these on to the cluster's side, which takes none of them.
                quiet = {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": False}
                ray.init(address=self._address, **({} if self._address.startswith("ray://") else quiet))
            except (OSError, ValueError, RuntimeError) as error:
                found = str(error).strip().split("\n")[0][:300]
                where = "that this machine belongs to" if self._address == "auto" else f"at {self._address}"
                raise Mistake(f"there is no Ray cluster {where}", found=found, hint=_HINT) from error
        self.workers = max(1, int(ray.cluster_resources().get("CPU", 1)))
        # Retried by `map`, which counts the deaths of a task in one way here and on one machine.
        options = {"num_cpus": 1, "max_retries": 0, "scheduling_strategy": "SPREAD", "memory": self._memory_bytes}
        self._remote = ray.remote(remote.run).options(**options)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._site.token.unlink(missing_ok=True)
        if self._joined:
            self._ray.shutdown()

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
        if len(first) == 1 and seconds is None and not isolated:
            yield done_here(function, first[0], self._work)
            return
        given = self._given(pickle.dumps(function), chain(first, stream), seconds, retry)
        waiting: deque[_Given] = deque()
        try:
            while True:
                waiting.extend(islice(given, ahead * self.workers - len(waiting)))
                if not waiting:
                    return
                self._collect(waiting)
                if meanwhile is not None:
                    meanwhile()
                while waiting and waiting[0].done:
                    yield waiting.popleft().result
        finally:
            for one in waiting:
                if not one.done:
                    with suppress(self._ray.exceptions.RayError):
                        self._ray.cancel(one.running, force=True)

    def _given(self, function: bytes, tasks: Iterable[Any], seconds: float | None, retry: bool) -> Iterator[_Given]:
        limits = None if seconds is None else (seconds + FIRST_SECONDS, seconds)
        for task in tasks:
            words = self._scratch / uuid.uuid4().hex
            pickled = pickle.dumps(task, pickle.HIGHEST_PROTOCOL)
            one = _Given(remote.Errand(self._site, function, pickled, limits, words), repr(task), 2 if retry else 1)
            self._send(one)
            yield one

    def _send(self, one: _Given) -> None:
        one.tries_left -= 1
        one.running = self._remote.remote(one.errand)

    def _collect(self, waiting: deque[_Given]) -> None:
        running = {one.running: one for one in waiting if not one.done}
        # The oldest is what the caller waits for; others that have ended meanwhile are taken with it.
        ready, _ = self._ray.wait(list(running), num_returns=1, timeout=_WAIT_SECONDS)
        for reference in ready:
            self._take(running[reference])

    def _take(self, one: _Given) -> None:
        exceptions = self._ray.exceptions
        try:
            answer: Answer = pickle.loads(self._ray.get(one.running))
        except exceptions.RayTaskError as error:
            found = str(error).strip().rpartition("\n")[2]
            hint = "install the same environment on every machine of the cluster"
            raise Mistake("a machine of the cluster cannot run Metier", found=found, hint=hint) from error
        except exceptions.RayError as error:
            self._died(one, NO_MEMORY if isinstance(error, exceptions.OutOfMemoryError) else CRASHED)
            return
        if answer.kind == "memory" and one.tries_left:
            self._send(one)
        else:
            one.finish(meaning(answer, one.shown, self._work))

    def _died(self, one: _Given, reason: str) -> None:
        words = one.errand.words.read_text(errors="replace") if one.errand.words.is_file() else ""
        one.errand.words.unlink(missing_ok=True)
        if words:
            one.finish(lost(TOO_LONG, words, one.shown, self._work))
        elif one.tries_left:
            self._send(one)
        else:
            one.finish(lost(reason, None, one.shown, self._work))


class _Given:
    """A task that was handed out, and its result when it is done."""

    def __init__(self, errand: remote.Errand, shown: str, tries: int) -> None:
        self.errand, self.shown, self.tries_left = errand, shown, tries
        self.running: Any = None
        self.result: Any = None
        self.done = False

    def finish(self, result: Any) -> None:
        """Keep the result."""
        self.result, self.done = result, True


def _knock(address: str) -> None:
    """Raise OSError unless something listens at the address: Ray itself tries for minutes, and says so many times."""
    if address == "auto":
        # Where `ray.init` looks too. If neither is there it says at once that there is no cluster.
        left_by_ray_start = Path("/tmp/ray/ray_current_cluster")
        address = os.environ.get("RAY_ADDRESS") or (
            left_by_ray_start.read_text() if left_by_ray_start.is_file() else ""
        )
    host, _, port = address.strip().rpartition("://")[2].rpartition(":")
    if port.isdigit():
        socket.create_connection((host, int(port)), timeout=_KNOCK_SECONDS).close()
