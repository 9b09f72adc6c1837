"""Checkpoints that are whole or do not count."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from metier.core.files import write_json_atomic

MARKER = "complete.json"
PREFIX = "checkpoint-"  # the trainers' own name for a checkpoint's folder


class Cadence:
    """When to save: every 40 s, or at most a twentieth of the time when saving is slow; the first after 20 s.

    It is no option, because it changes no result.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last = clock()
        self._wait = 20.0

    def due(self) -> bool:
        """Whether it is time to save."""
        return self._clock() - self._last >= self._wait

    def saved(self, seconds: float) -> None:
        """Say that a save has just ended and took so long."""
        self._last = self._clock()
        self._wait = max(40.0, 20.0 * seconds)


class Checkpoints:
    """The checkpoints of one training, `checkpoint-<step>` folders below `folder`.

    A checkpoint counts once its marker was written, last and by rename, with the size of every file and the
    fingerprint of the rows it was training on. This survives a kill at any moment and a file cut short; after a power
    cut the system may not have written all bytes although the sizes are right.
    """

    def __init__(self, folder: Path, fingerprint: str) -> None:
        self.folder = folder
        self.fingerprint = fingerprint

    def path(self, step: int) -> Path:
        """The folder of the checkpoint after optimizer step `step`."""
        return self.folder / f"{PREFIX}{step}"

    def newest(self) -> Path | None:
        """Return the newest complete checkpoint, and delete every one that is not complete or of other rows."""
        complete = []
        for path in sorted(self.folder.glob(f"{PREFIX}*"), key=step_of):
            if self._is_complete(path):
                complete.append(path)
            else:
                shutil.rmtree(path)
        return complete[-1] if complete else None

    def make_room(self) -> None:
        """Delete all but the newest, so that there are never more than two, the one being written included."""
        for path in sorted(self.folder.glob(f"{PREFIX}*"), key=step_of)[:-1]:
            self._delete(path)

    def seal(self, step: int) -> None:
        """Declare the checkpoint of `step` complete."""
        path = self.path(step)
        sizes = {file.name: file.stat().st_size for file in sorted(path.iterdir())}
        write_json_atomic(path / MARKER, {"fingerprint": self.fingerprint, "bytes": sizes})

    def discard(self, step: int) -> None:
        """Remove a checkpoint whose writing failed."""
        shutil.rmtree(self.path(step), ignore_errors=True)

    def _delete(self, path: Path) -> None:
        # The marker goes first: a kill in between leaves an incomplete checkpoint, not one that looks whole.
        (path / MARKER).unlink(missing_ok=True)
        shutil.rmtree(path)

    def _is_complete(self, path: Path) -> bool:
        try:
            told = json.loads((path / MARKER).read_text())
            return bool(told["fingerprint"] == self.fingerprint) and all(
                (path / name).stat().st_size == size for name, size in told["bytes"].items()
            )
        except (OSError, ValueError, KeyError):
            return False


def step_of(path: Path) -> int:
    """Return the optimizer step after which a checkpoint was taken, from its folder's name; 0 for another name."""
    number = path.name.removeprefix(PREFIX)
    return int(number) if number.isdigit() else 0
