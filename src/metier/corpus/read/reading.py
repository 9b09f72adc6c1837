"""Read a listing of files into an artifact's documents: on all cores, in order, and on from where it was killed."""

from __future__ import annotations

import filecmp
import json
import shutil
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from metier.core import Work
from metier.core.files import write_json_atomic
from metier.core.progress import Bar
from metier.corpus.read.journal import Counts
from metier.corpus.read.listing import Listed, Task, cut, of_task, write_listing
from metier.corpus.read.reader import Limits, Opener, Reader, Stopped
from metier.corpus.read.sources import Options
from metier.corpus.read.task import PathOf, TaskReading, journal_of

UNREAD_LIST = "unread.tsv"
"""What could not be read, a line each: source, reason, part, detail. The workshop keeps it beside the documents."""

LISTING = "listing.jsonl"
"""The files to be read, in the folder that an attempt leaves."""

_SCRATCH = ".scratch-read"


class Reading:
    """Everything that reading a listing needs to know.

    Args:
        path_of: where a file of the listing lies on this machine; None where only `opener` can open it.
        opener: opens files that have no path here.
        limit: items to read at most, of the first files; None for all.
    """

    def __init__(
        self,
        work: Work,
        options: Options,
        limits: Limits,
        path_of: PathOf,
        opener: Opener | None = None,
        limit: int | None = None,
    ) -> None:
        self._work, self._options, self._limits = work, options, limits
        self._path_of, self._opener, self._limit = path_of, opener, limit
        self._folder = work.folder / _SCRATCH
        self._listing = self._folder / LISTING
        self._marker = self._folder / "finishing.json"

    def run(self, files: Iterable[Listed]) -> Counts:
        """Read the files, write documents and the list of what could not be read, and return what was counted.

        What an earlier attempt finished is kept if the files are the same as then.
        """
        count = self._prepare(files)
        if not self._marker.is_file():
            tasks = cut(self._listing, whole=self._limit is not None)
            self._read(tasks, count)
            self._join_lists()
            shards, counts = self._finished(tasks)
            write_json_atomic(self._marker, {"shards": shards, "counts": counts.model_dump()})
        return self._finish()

    def _prepare(self, files: Iterable[Listed]) -> int:
        """Write the listing. An earlier attempt's work is thrown away if that was another."""
        self._folder.mkdir(exist_ok=True)
        fresh = self._folder / "listing.fresh"
        count = write_listing(files, fresh)
        if not self._listing.is_file() or not filecmp.cmp(fresh, self._listing, shallow=False):
            shutil.rmtree(self._work.folder / "documents", ignore_errors=True)
            for path in self._folder.iterdir():
                if path != fresh:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
        fresh.replace(self._listing)
        for name in ("journal", "shards", "temporary"):
            (self._folder / name).mkdir(exist_ok=True)
        (self._work.folder / "documents").mkdir(exist_ok=True)
        return count

    def _finished(self, tasks: list[Task]) -> tuple[list[str], Counts]:
        """Return the shards of all tasks, in the order of the documents, and what was counted."""
        shards, counts = list[str](), Counts()
        for task in tasks:
            journal = journal_of(self._folder, task.number)
            shards += journal.shards
            counts.add(journal.counts)
        return shards, counts

    def _read(self, tasks: list[Task], count: int) -> None:
        left = [task for task in tasks if not journal_of(self._folder, task.number).ended]
        shards, done = self._finished(tasks)
        if shards or done.files:
            self._work.event("going on", files=done.files, shards=len(shards))
        with self._work.progress("reading", count if self._limit is None else None, "files") as bar:
            bar.resume_at(done.files)
            if left and self._work.host.cluster is not None:
                self._on_cluster(left, bar)
            elif left:
                self._on_threads(left, _locked(bar))

    def _on_cluster(self, tasks: list[Task], bar: Bar) -> None:
        """Share the tasks out among the machines of a cluster, each with reading processes of its own."""
        from metier.corpus.engine.pool import open_pool

        job = Job(self._folder, self._options, self._limits, self._path_of, self._opener, self._limit)
        with open_pool(self._work.host, self._work) as pool:
            for files in pool.every(job, tasks, what="reading"):
                bar.advance(files)

    def _on_threads(self, tasks: list[Task], finished: Callable[[], None]) -> None:
        """Share the tasks out among reading processes, each driven by a thread: what it sends is written by Arrow."""
        workers = min(self._work.host.threads, len(tasks))
        temporary = self._folder / "temporary"
        readers = [Reader(self._options, self._limits, temporary, self._opener) for _ in range(workers)]
        queue, lock, stopped = iter(tasks), threading.Lock(), threading.Event()

        def drive(reader: Reader) -> None:
            try:
                while not stopped.is_set():
                    with lock:
                        task = next(queue, None)
                    if task is None:
                        return
                    files = of_task(self._listing, task)
                    TaskReading(task.number, files, self._folder, self._path_of, self._limit, finished).run(reader)
            finally:
                reader.close()

        with ThreadPoolExecutor(workers) as pool:
            running = [pool.submit(drive, reader) for reader in readers]
            try:
                wait(running, return_when=FIRST_EXCEPTION)
            finally:
                # Of the others, what is in their journals is done.
                if any(not one.done() or one.exception() is not None for one in running):
                    stopped.set()
                    for reader in readers:
                        reader.stop()
        failures = [error for one in running if (error := one.exception()) is not None]
        if failures:
            raise next((error for error in failures if not isinstance(error, Stopped)), failures[0])

    def _join_lists(self) -> None:
        temporary = self._folder / UNREAD_LIST
        with temporary.open("wb") as out:
            for path in sorted(self._folder.glob("unread-*.tsv")):
                with path.open("rb") as part:
                    shutil.copyfileobj(part, out)
        temporary.replace(self._work.folder / UNREAD_LIST)

    def _finish(self) -> Counts:
        """Give the shards their names. A kill in the middle of it changes nothing: those that have theirs keep them."""
        finished = json.loads(self._marker.read_text())
        for number, name in enumerate(finished["shards"]):
            shard = self._folder / "shards" / name
            if shard.is_file():
                shard.replace(self._work.folder / "documents" / f"part-{number:05d}.parquet")
        return Counts.model_validate(finished["counts"])


def _locked(bar: Bar) -> Callable[[], None]:
    lock = threading.Lock()

    def advance() -> None:
        with lock:
            bar.advance()

    return advance


@dataclass(frozen=True)
class Job:
    """The reading of tasks in a process of a pool, anywhere that sees the artifact's folder and the files."""

    folder: Path
    options: Options
    limits: Limits
    path_of: PathOf
    opener: Opener | None
    limit: int | None

    def __call__(self, task: Task) -> int:
        """Read a task, or what is left of it, and return how many files it has."""
        files = of_task(self.folder / LISTING, task)
        reader = Reader(self.options, self.limits, self.folder / "temporary", self.opener)
        try:
            TaskReading(task.number, files, self.folder, self.path_of, self.limit, lambda: None).run(reader)
        finally:
            reader.close()
        return task.files


def nowhere(name: str) -> None:
    """Return None: the file does not lie on this machine."""


@dataclass(frozen=True)
class LocalFiles:
    """Where the files of a local folder, or the one file that `root` is, lie."""

    root: Path

    def __call__(self, name: str) -> str:
        """Return where a file lies."""
        return str(self.root if self.root.is_file() else self.root / name)
