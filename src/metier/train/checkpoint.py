"""Checkpoints that are whole or do not count."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from metier.core import Mistake
from metier.core.files import write_json_atomic

MARKER = "complete.json"
PREFIX = "checkpoint-"  # the trainers' own name for a checkpoint's folder


EVERY_STEPS, EVERY_MINUTES = "METIER_CHECKPOINT_STEPS", "METIER_CHECKPOINT_MINUTES"


class Cadence:
    """When to save: every 40 s, or at most a twentieth of the time when saving is slow; the first after 20 s.

    It is no field of a step, because it changes no result. METIER_CHECKPOINT_STEPS and METIER_CHECKPOINT_MINUTES say
    otherwise for a machine.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, steps: int | None = None, minutes: float | None = None
    ) -> None:
        self._clock, self._steps, self._minutes = clock, steps, minutes
        self._last = clock()
        self._wait = 20.0 if minutes is None else 60 * minutes

    @classmethod
    def here(cls) -> Cadence:
        """Return the cadence that this machine's environment asks for. Raises Mistake if it is not a number above 0."""
        told = {name: os.environ.get(name) for name in (EVERY_STEPS, EVERY_MINUTES)}
        try:
            steps = int(told[EVERY_STEPS] or 0)
            minutes = float(told[EVERY_MINUTES] or 0)
            if min(steps, minutes) < 0:
                raise ValueError
        except ValueError:
            found = ", ".join(f"{name}={value}" for name, value in told.items() if value)
            raise Mistake("checkpoints need a number above 0", found=found, hint=f"{EVERY_STEPS}=100") from None
        return cls(steps=steps or None, minutes=minutes or None)

    def due(self, step: int) -> bool:
        """Whether it is time to save after optimizer step `step`."""
        if self._steps is not None and step % self._steps == 0:
            return True
        # Told steps alone, the clock has no say.
        by_clock = self._steps is None or self._minutes is not None
        return by_clock and self._clock() - self._last >= self._wait

    def saved(self, seconds: float) -> None:
        """Say that a save has just ended and took so long."""
        self._last = self._clock()
        if self._minutes is None:
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
