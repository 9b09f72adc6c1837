"""Several processes of one run, as torchrun, accelerate or Slurm start them: which one this is, and who says what."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import socket
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from metier.core.errors import Failure, Problem
from metier.core.files import write_json_atomic

POLL_SECONDS = 0.2
_START_SECONDS = 10.0  # by which the processes of a machine may be apart when they begin


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


class OtherEnded(Failure):
    """Another process of the run ended, and says itself why."""


def to_be_said(error: BaseException) -> bool:
    """Whether this process has to tell the user what ended it: of several only what the first did not tell.

    Before there is a workshop all processes meet the same faulty recipe. Those of one machine find each other in its
    temporary folder; on several machines the first process of each tells. What is told by any other than the first of
    all gets a note that names it.
    """
    here = Processes.here()
    if here.total == 1 or this_process() in getattr(error, "__notes__", ()):  # `Lead.following` has seen to it
        return True
    path = Path(tempfile.gettempdir()) / f"metier-{os.getuid()}-{run_name()}.json"
    if here.speaks:
        with contextlib.suppress(OSError):
            write_json_atomic(path, {"what": what_of(error), "time": time.time()})
        said = False
    else:
        said = _said(path) == what_of(error)
    if not here.first and not said:
        error.add_note(this_process())
    return not said


def _said(path: Path) -> str | None:
    """Return what the first process of this machine says that it failed of, or None if it does not in some seconds."""
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            told = json.loads(path.read_text())
            if path.stat().st_uid == os.getuid() and float(told["time"]) >= launched():
                return str(told["what"])
        time.sleep(POLL_SECONDS)
    return None


def what_of(error: BaseException) -> str:
    """Return an error in one line, without what differs from process to process, as addresses."""
    if isinstance(error, Problem):
        return error.what
    return next(iter(str(error).splitlines()), "") or type(error).__name__


def code_of(error: BaseException) -> int:
    """Return the exit code that an error ends its process with."""
    if isinstance(error, Problem):
        return error.exit_code
    return error.code if isinstance(error, SystemExit) and isinstance(error.code, int) else 1


def this_process() -> str:
    """Return which process this is, in words."""
    here = Processes.here()
    return f"process {here.rank} of {here.total}, counted from 0, on {socket.gethostname()}"


def run_name() -> str:
    """Return a name that all processes of a run have in common, from what their launcher says."""
    names = ("TORCHELASTIC_RUN_ID", "TORCHELASTIC_RESTART_COUNT", "MASTER_ADDR", "MASTER_PORT", "SLURM_JOB_ID")
    told = [os.environ.get(name, "") for name in names]
    if os.environ.get("MASTER_ADDR", "") in ("", "localhost", "127.0.0.1", "::1"):
        told.append(socket.gethostname())
    return hashlib.sha256("\0".join(told).encode()).hexdigest()[:16]


def launched() -> float:
    """Return when the program that started this process was itself started: nothing of this run is older."""
    import psutil

    return float(psutil.Process(os.getppid()).create_time()) - 1.0  # the kernel counts in hundredths of a second
