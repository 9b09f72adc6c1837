"""A workshop makes artifacts: each once, whole or not at all, whoever asks and however often it is killed."""

from __future__ import annotations

import fcntl
import gc
import importlib.metadata
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from metier.core.artifact import EVENTS, RECORD, Artifact, Record
from metier.core.digests import Digests
from metier.core.errors import Failure, Mistake, Problem, from_os_error
from metier.core.extras import missing_extras
from metier.core.files import files_below, size_below, write_text_atomic
from metier.core.host import Host
from metier.core.kernel_caches import bound_kernel_caches
from metier.core.lead import Lead
from metier.core.processes import Processes
from metier.core.progress import Progress
from metier.core.step import Keys, Step, dependencies_first
from metier.core.work import Work

A = TypeVar("A", bound=Artifact)

_ATTEMPTS = ".attempts"
_WORTH_COLLECTING = 256 << 20
_RECORDED = ("torch", "transformers", "accelerate", "tokenizers", "numpy", "pyarrow", "gguf", "xllamacpp")


class Workshop:
    """A folder of artifacts and the means to make them.

    Of several processes (see `Processes`) the first makes artifacts and the others wait for its finished records, but
    for a step that runs `on_all_processes`.

    Args:
        folder: where artifacts lie, one sub-folder each, named by step and key.
        host: what the machine offers; this machine if None.
        progress: where progress is shown; nowhere if None.
    """

    def __init__(self, folder: Path | str, host: Host | None = None, progress: Progress | None = None) -> None:
        bound_kernel_caches()
        self.folder = Path(folder)
        self.host = host or Host.here()
        self.processes = Processes.here()
        self._voice = progress or Progress()
        self.progress = self._voice if self.processes.first else Progress()
        self._lead = Lead(self.folder / ".locks")
        try:
            (self.folder / ".locks").mkdir(parents=True, exist_ok=True)
            self.keys = Keys(Digests(self.folder / ".digests.sqlite"))
        except OSError as error:
            raise from_os_error(error, f"opening the workshop {self.folder}") or error from error
        except Exception as error:  # sqlite3 reports a read-only or full disk by an error class of its own
            if type(error).__module__ == "sqlite3":
                raise Mistake(
                    f"the workshop {self.folder} cannot be written",
                    found=str(error),
                    hint="choose another with --workshop",
                ) from error
            raise

    def folder_of(self, step: Step[Any]) -> Path:
        """Return where the artifact of `step` lies or will lie."""
        return self.folder / f"{step.name}-{self.keys.of(step)[:16]}"

    def find(self, step: Step[A]) -> A | None:
        """Return the finished artifact of `step`, or None."""
        artifact = step.makes(self.folder_of(step))
        return artifact if artifact.exists else None  # type: ignore[return-value]

    def make(self, step: Step[A], names: dict[int, str] | None = None) -> A:
        """Return the artifact of `step`, making it and whatever it needs unless they are there.

        Args:
            names: what the recipe calls each step, by `id`; for the records and the screen.

        Raises:
            Mistake: the input or the machine is not as needed. Failure: a step failed. What was finished is kept.
        """
        return self.make_all([step], names)[0]  # type: ignore[return-value]

    def make_all(self, steps: list[Step[Any]], names: dict[int, str] | None = None) -> list[Artifact]:
        """Make several artifacts, each step once, and return them in the order asked."""
        if self.processes.total == 1:
            return self._make_all(steps, names or {})
        with self._lead.working() if self.processes.first else self._lead.following():
            return self._make_all(steps, names or {})

    def _make_all(self, steps: list[Step[Any]], names: dict[int, str]) -> list[Artifact]:
        order = dependencies_first(steps, names)
        needed = self.needed(steps)
        missing_extras([step for step in order if id(step) in needed])
        if not self.host.gpus:
            # transformers loads DeepSpeed where it is installed, which warns of finding no GPU unless it is told so.
            os.environ.setdefault("DS_ACCELERATOR", "cpu")
        inputs: dict[int, Artifact] = {}
        for number, step in enumerate(order, 1):
            found = self.find(step)
            if found is None and id(step) in needed:
                called = names.get(id(step))
                self._voice.prefix = f"[{number}/{len(order)}] {called or step.name}: "
                try:
                    make = self._make_one if self.processes.first else self._follow_one
                    found = make(step, called, inputs)
                finally:
                    self._voice.prefix = ""
            # An input that is gone but whose result stands is only ever needed by name.
            inputs[id(step)] = found or step.makes(self.folder_of(step))
        return [inputs[id(step)] for step in steps]

    def needed(self, targets: list[Step[Any]]) -> set[int]:
        """Return the ids of the steps that must run: missing targets, and missing inputs of what must run."""
        needed: set[int] = set()
        stack = list(targets)
        while stack:
            step = stack.pop()
            if id(step) not in needed and self.find(step) is None:
                needed.add(id(step))
                stack += [held for steps in step.held().values() for held in steps]
        return needed

    def _make_one(self, step: Step[Any], called: str | None, inputs: dict[int, Artifact]) -> Artifact:
        folder = self.folder_of(step)
        artifact, resident = step.makes(folder), _resident_bytes()
        with self._lock(folder.name):
            if artifact.exists:  # another process made it while we waited
                return artifact
            try:
                folder.mkdir(exist_ok=True)
                attempts = self._count_attempt(folder)
                work = Work(step, folder, self.host, inputs, self.progress)
                if attempts > 1:
                    self.progress.say(f"{self.progress.prefix}attempt {attempts}: an earlier one did not finish")
                self._gather(step, folder)
                start = time.monotonic()
                step.run(work)
                self._finish(step, called, work, attempts, time.monotonic() - start)
            except Problem:
                raise
            except MemoryError as error:
                raise Failure(
                    f"'{called or step.name}' ran out of memory",
                    hint="`metier plan` shows what each step needs",
                ) from error
            except Exception as error:
                mapped = _behind(error, f"making '{called or step.name}'")
                if mapped is None:
                    raise
                raise mapped from error
            finally:
                # A trainer and its callbacks hold each other, and with them gigabytes of weights and moments. Looking
                # for such rings takes a quarter of a second, which steps that took little memory need not pay.
                if _resident_bytes() - resident > _WORTH_COLLECTING:
                    gc.collect()
        return artifact

    def _gather(self, step: Step[Any], folder: Path) -> None:
        """Tell the other processes, if there are any, whether to take part in a step."""
        if self.processes.total == 1:
            return
        self._lead.together(folder.name if step.on_all_processes else None)
        if not step.on_all_processes:
            self.progress.say(f"{self.progress.prefix}made by this process; {self.processes.total - 1} wait for it")

    def _follow_one(self, step: Step[Any], _called: str | None, inputs: dict[int, Artifact]) -> Artifact:
        """Return the artifact when the first process has finished it, and take part where it says so."""
        folder = self.folder_of(step)
        artifact = step.makes(folder)

        def waiting() -> None:
            if self.processes.speaks:  # the first process of another machine, whose screen it may be
                self._voice.say(f"{self._voice.prefix}waiting for the first process")

        self._lead.follow(lambda told: artifact.exists or (told and told.together) == folder.name, waiting)
        if not artifact.exists:
            with tempfile.TemporaryDirectory(prefix="metier-") as scratch:
                step.run(Work(step, Path(scratch), self.host, inputs, self.progress, shared=folder))
            gc.collect()  # see `_make_one`
            self._lead.follow(lambda _: artifact.exists, lambda: None)
        return artifact

    def _count_attempt(self, folder: Path) -> int:
        path = folder / _ATTEMPTS
        before = int(path.read_text()) if path.is_file() and path.read_text().strip().isdigit() else 0
        write_text_atomic(path, str(before + 1))
        return before + 1

    def _finish(self, step: Step[Any], called: str | None, work: Work, attempts: int, seconds: float) -> None:
        folder = work.folder
        for leftover in folder.glob(".scratch*"):
            shutil.rmtree(leftover)
        record = Record(
            step=step.name,
            version=step.version,
            key=self.keys.of(step),
            called=called,
            recipe=self.keys.identity(step)["fields"],
            inputs={field: [self.keys.of(held) for held in steps] for field, steps in step.held().items()},
            ledger=work.ledger,
            figures=work.figures,
            warnings=work.warnings,
            output_sha256=output_digest(folder),
            output_bytes=size_below(folder),
            versions=_versions(),
            host=self.host.as_dict(),
            finished=datetime.now(UTC).isoformat(timespec="seconds"),
            seconds=round(seconds, 3),
            attempts=attempts,
        )
        write_text_atomic(folder / RECORD, record.model_dump_json(indent=2) + "\n")
        (folder / _ATTEMPTS).unlink(missing_ok=True)

    @contextmanager
    def _lock(self, name: str) -> Iterator[None]:
        # The kernel lets go of the lock when its holder dies, however it dies.
        try:
            lock = (self.folder / ".locks" / name).open("w")
        except OSError as error:
            raise from_os_error(error, f"locking {name}") or error from error
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self.progress.say(f"{self.progress.prefix}another process is making {name}; waiting for it")
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def artifacts(self) -> list[Artifact]:
        """Return every folder of the workshop that holds an artifact or the leftovers of an attempt, oldest first."""
        folders = [path for path in self.folder.iterdir() if path.is_dir() and not path.name.startswith(".")]
        return [Artifact(path) for path in sorted(folders, key=lambda path: path.stat().st_mtime)]


def output_digest(folder: Path) -> str:
    """Return the SHA-256 over the names and contents of an artifact's files, its record and events apart."""
    import hashlib

    from metier.core.files import sha256_file

    whole = hashlib.sha256()
    for path in files_below(folder):
        name = path.relative_to(folder).as_posix()
        if name not in (RECORD, EVENTS):
            whole.update(f"{name}\0{sha256_file(path)}\n".encode())
    return whole.hexdigest()


def _resident_bytes() -> int:
    import psutil

    return int(psutil.Process().memory_info().rss)


def _behind(error: Exception, doing: str) -> Problem | None:
    """Return the disk problem behind an exception that a library raised in its own words, or None."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError):
            return from_os_error(cause, doing)
        if "No space left on device" in str(cause) or "Disk quota exceeded" in str(cause):
            return from_os_error(OSError(28, "No space left on device"), doing)
        cause = cause.__cause__ or cause.__context__
    return None


def _versions() -> dict[str, str]:
    from metier import __version__

    found = {"metier": __version__, "python": platform.python_version()}
    for package in _RECORDED:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
