"""Several processes of one run, as torchrun, accelerate or Slurm start them: the first makes, the others follow it.

They meet in the workshop's folder, which all machines of a run share, and nowhere else: a collective operation would
wait for hours while a corpus is read, and run out of time.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple

from metier.core.errors import Failure
from metier.core.files import write_json_atomic

_POLL_SECONDS = 0.2
_GRACE_SECONDS = 3.0
_UNSEEN_SECONDS = 1800.0  # as long as torch waits for a process that does not come

State = Literal["working", "failed", "done"]


class Processes(NamedTuple):
    """Which of how many processes this one is: `rank` of `total` over all machines, `local_rank` on its own."""

    rank: int = 0
    total: int = 1
    local_rank: int = 0

    @classmethod
    def here(cls) -> Processes:
        """Return what the launcher said in RANK, WORLD_SIZE and LOCAL_RANK; one process where it said nothing."""
        rank, count, local = (os.environ.get(name, "") for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
        if not (rank.isdigit() and count.isdigit()):
            return cls()
        return cls(int(rank), int(count), int(local) if local.isdigit() else int(rank))

    @property
    def first(self) -> bool:
        """Whether this is the process that makes artifacts and speaks to the user."""
        return self.rank == 0

    @property
    def speaks(self) -> bool:
        """Whether this process may say what goes for all processes of its machine."""
        return self.local_rank == 0


class Told(NamedTuple):
    """What the first process said last: its state, and the step that it is making on all processes."""

    state: State
    together: str | None
    time: float


class Lead:
    """Where the first process of a run says what it is doing, and the others read it.

    A lock that the first holds while it works is freed by the kernel however it dies, so that none waits for the dead.

    Args:
        folder: seen by all processes under the same path.
    """

    def __init__(self, folder: Path) -> None:
        name = f"run-{_run_name()}"
        self._file, self._lock = folder / f"{name}.json", folder / name

    @contextmanager
    def working(self) -> Iterator[None]:
        """Be the first process at work; whatever leaves the block as an exception is told as a failure."""
        with self._lock.open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._tell("working")
            try:
                yield
            except BaseException:
                self._tell("failed")
                raise
            self._tell("done")

    def together(self, name: str | None) -> None:
        """Say that all processes are to take part in making `name` now."""
        self._tell("working", name)

    def _tell(self, state: State, together: str | None = None) -> None:
        with contextlib.suppress(OSError):  # a full disk: what is being made will say so
            write_json_atomic(self._file, Told(state, together, time.time())._asdict())

    def told(self) -> Told | None:
        """Return what the first process of this run said last, or None if it has not begun.

        Raises:
            FirstEnded: it failed, or was killed.
        """
        told = self._read()
        if told is None:
            return None
        held = self._held()
        if not held and told.time < _launched():
            return None  # of an earlier run by the same address
        # Read once more: between the two looks it may have gone on, or ended well.
        if (told.state == "failed" or (told.state == "working" and not held)) and self._read() == told:
            raise FirstEnded(1)
        return told if held or told.state == "done" else None

    def follow(self, until: Callable[[Told | None], bool], waiting: Callable[[], None]) -> None:
        """Wait until `until` holds of what the first process said last.

        Args:
            waiting: called once, if there is something to wait for.

        Raises:
            FirstEnded: the first process failed, or was killed.
            Failure: it never began.
        """
        seen, said = time.monotonic(), False
        while not until(told := self.told()):
            if told is not None and told.state == "working":
                seen = time.monotonic()
            elif time.monotonic() - seen > _UNSEEN_SECONDS:
                raise Failure(
                    "the first process of this run was not seen at work",
                    found=f"nothing in {self._file.parent} for {_UNSEEN_SECONDS / 60:.0f} minutes",
                    hint="all processes need the same command and workshop, in a folder that all machines share",
                )
            if not said:
                said = True
                waiting()
            time.sleep(_POLL_SECONDS)

    @contextmanager
    def following(self) -> Iterator[None]:
        """Be one of the other processes: what goes wrong here is told, unless the first fails too, which tells it.

        Raises:
            FirstEnded: the first process failed, or was killed.
        """
        try:
            yield
        except Exception:
            deadline = time.monotonic() + _GRACE_SECONDS
            while time.monotonic() < deadline:
                self.told()
                time.sleep(_POLL_SECONDS)
            raise

    def _read(self) -> Told | None:
        try:
            told: dict[str, Any] = json.loads(self._file.read_text())
            return Told(**told)
        except (OSError, ValueError, TypeError):
            return None

    def _held(self) -> bool:
        try:
            with self._lock.open() as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except FileNotFoundError:
            return False
        return False


class FirstEnded(SystemExit):
    """The first process failed, and has said why: the others end without a word of their own, with its exit code 1."""


def _run_name() -> str:
    """Return a name that all processes of a run have in common, from what their launcher says."""
    names = ("TORCHELASTIC_RUN_ID", "TORCHELASTIC_RESTART_COUNT", "MASTER_ADDR", "MASTER_PORT", "SLURM_JOB_ID")
    told = [os.environ.get(name, "") for name in names]
    if os.environ.get("MASTER_ADDR", "") in ("", "localhost", "127.0.0.1", "::1"):
        told.append(socket.gethostname())
    return hashlib.sha256("\0".join(told).encode()).hexdigest()[:16]


def _launched() -> float:
    """Return when the program that started this process was itself started: nothing of this run is older."""
    import psutil

    return float(psutil.Process(os.getppid()).create_time()) - 1.0  # the kernel counts in hundredths of a second
