"""What the first process of a run says of its work, and how the others follow it and end with it.

They meet in the workshop's folder, which all machines of a run share, and nowhere else: a collective operation would
wait for hours while a corpus is read, and run out of time.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple

from metier.core.errors import Failure
from metier.core.files import write_json_atomic
from metier.core.processes import (
    POLL_SECONDS,
    OtherEnded,
    code_of,
    launched,
    run_name,
    this_process,
    what_of,
)

_GRACE_SECONDS = 3.0  # in which the first process fails of the same cause, if it does
_UNSEEN_SECONDS = 1800.0  # as long as torch waits for a process that does not come

State = Literal["working", "failed", "done"]


class Told(NamedTuple):
    """What the first process said last: its state, and the step that it is making on all processes.

    what, code: of a failure the error in one line, and the exit code.
    """

    state: State
    together: str | None
    time: float
    what: str | None = None
    code: int = 1


class Lead:
    """Where the first process of a run says what it is doing, and the others read it.

    A lock that the first holds while it works is freed by the kernel however it dies, so that none waits for the dead.

    Args:
        folder: seen by all processes under the same path.
    """

    def __init__(self, folder: Path) -> None:
        name = f"run-{run_name()}"
        self._file, self._lock = folder / f"{name}.json", folder / name

    @contextmanager
    def working(self) -> Iterator[None]:
        """Be the first process at work; whatever leaves the block as an exception is told as a failure."""
        with self._lock.open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._tell("working")
            try:
                yield
            except BaseException as error:
                self._tell("failed", what=what_of(error), code=code_of(error))
                raise
            self._tell("done")

    def together(self, name: str | None) -> None:
        """Say that all processes are to take part in making `name` now."""
        self._tell("working", name)

    def _tell(self, state: State, together: str | None = None, what: str | None = None, code: int = 1) -> None:
        with contextlib.suppress(OSError):  # a full disk: what is being made will say so
            write_json_atomic(self._file, Told(state, together, time.time(), what, code)._asdict())

    def told(self) -> Told | None:
        """Return what the first process of this run said last, or None if it has not begun.

        Raises:
            FirstEnded: it failed, or was killed.
        """
        told = self._read()
        if told is None:
            return None
        held = self._held()
        if not held and told.time < launched():
            return None  # of an earlier run by the same address
        # Read once more: between the two looks it may have gone on, or ended well.
        if (told.state == "failed" or (told.state == "working" and not held)) and self._read() == told:
            raise FirstEnded(told.code, told.what)
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
            time.sleep(POLL_SECONDS)

    @contextmanager
    def following(self) -> Iterator[None]:
        """Be one of the other processes: what goes wrong here is told, unless it is what the first tells too.

        An error that is to be told gets a note that names this process.

        Raises:
            FirstEnded: the first process failed of the same cause, or was killed.
        """
        try:
            yield
        except Exception as error:
            deadline = time.monotonic() + _GRACE_SECONDS
            while time.monotonic() < deadline:
                try:
                    self.told()
                except FirstEnded as first:
                    if first.what == what_of(error) or isinstance(error, OtherEnded):
                        raise
                    break
                time.sleep(POLL_SECONDS)
            error.add_note(this_process())
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
    """The first process failed, and has said why: the others end without a word of their own, with its exit code.

    Args:
        what: it said, None if it was killed.
    """

    def __init__(self, code: int, what: str | None = None) -> None:
        super().__init__(code)
        self.what = what
