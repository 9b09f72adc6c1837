"""Checkpoints that are whole or do not count."""

from __future__ import annotations

import json
import os
import shutil
import time
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from metier.core import Mistake
from metier.core.artifact import RECORD
from metier.core.files import write_json_atomic
from metier.train.identity import Identity

MARKER = "complete.json"
PREFIX = "checkpoint-"  # the trainers' own name for a checkpoint's folder

_BLOCK = 1 << 22  # bytes read at a time
_AT_ONCE = 4  # files read at once
_FEW = 3  # differences up to which another training is worth a word

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
        told = {name: os.environ.get(name, "") for name in (EVERY_STEPS, EVERY_MINUTES)}
        try:
            steps = int(told[EVERY_STEPS]) if told[EVERY_STEPS] else None
            minutes = float(told[EVERY_MINUTES]) if told[EVERY_MINUTES] else None
            if any(value is not None and not value > 0 for value in (steps, minutes)):
                raise ValueError
        except ValueError:
            found = ", ".join(f"{name}={value}" for name, value in told.items() if value)
            raise Mistake("checkpoints need a number above 0", found=found, hint=f"{EVERY_STEPS}=100") from None
        return cls(steps=steps, minutes=minutes)

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

    A checkpoint counts once its marker was written, last and by rename, with size and checksum of every file and the
    identity of the training. So it survives a kill at any moment, and a file that was cut short or changed is found;
    after a power cut, too, when the system had not written all bytes.

    Args:
        identity: of the training that is to be resumed.
        warn: told of checkpoints that are passed over, and of what is no longer as it was.
    """

    def __init__(self, folder: Path, identity: Identity, warn: Callable[[str], None] = lambda _text: None) -> None:
        self.folder, self.identity, self._warn = folder, identity, warn

    @property
    def fingerprint(self) -> str:
        """A digest of the data that is trained on."""
        return self.identity.fingerprint

    def path(self, step: int) -> Path:
        """The folder of the checkpoint after optimizer step `step`."""
        return self.folder / f"{PREFIX}{step}"

    def newest(self) -> Path | None:
        """Return the newest checkpoint that is whole; what is half written, or damaged, is deleted.

        Raises:
            Mistake: it belongs to a training on other data or with other settings. Nothing of it is deleted.
        """
        self.refuse_others()
        damaged: list[str] = []
        for path in self._sorted():
            told = _marker(path)
            if told is not None and (fault := fault_in(path, told["files"])) is None:
                self._tell(path, Identity.read(told["identity"]), damaged)
                return path
            if told is not None:
                damaged.append(f"{path.name}: {fault}")
            elif (path / MARKER).exists():  # without one it was cut off by a kill, which is nothing to speak of
                damaged.append(f"{path.name}: {MARKER} is damaged")
            shutil.rmtree(path, ignore_errors=True)
        if damaged:
            self._warn(f"no checkpoint is whole, so the training begins anew; damaged: {'; '.join(damaged)}")
        elif (relative := self._relative()) is not None:
            self._warn(relative)
        return None

    def refuse_others(self) -> None:
        """Raise Mistake if the newest checkpoint with a marker belongs to another training, naming what differs.

        So it does if its marker is of another form: another version of this program wrote it, and can go on from it.
        """
        for path in self._sorted():
            if (told := _read(path)) is None:
                continue
            if not _is_marker(told):
                raise Mistake(
                    f"the checkpoint of step {step_of(path)} was written by another version of Metier",
                    found=f"{path / MARKER} holds {', '.join(told) or 'nothing'}",
                    hint=f"finish this training with that version, or remove {self.folder} to begin anew",
                )
            before = Identity.read(told["identity"])
            if (was := before.layout) != "whole" and was != (now := self.identity.layout):
                others = _from_weights(path, before) if was.startswith("zero") else ""
                raise Mistake(
                    f"the checkpoint of step {step_of(path)} can be gone on from with {was} only, which wrote it",
                    found=f"started with {'one process or data parallel' if now == 'whole' else now}",
                    hint=f"start it with {was} again; {others}or remove {self.folder} to begin anew",
                )
            if changed := self.identity.essentials(before):
                raise Mistake(
                    f"the training cannot go on from step {step_of(path)}: it is no longer the same",
                    found="; ".join(changed),
                    hint=f"put back what changed, or remove {self.folder} to begin anew",
                )
            return

    def make_room(self) -> None:
        """Delete all but the newest, so that there are never more than two, the one being written included."""
        for path in self._sorted()[1:]:
            self._delete(path)

    def seal(self, step: int) -> None:
        """Declare the checkpoint of `step` complete."""
        path = self.path(step)
        write_json_atomic(path / MARKER, {"identity": self.identity.told(), "files": sums_of(path)})

    def discard(self, step: int) -> None:
        """Remove a checkpoint whose writing failed."""
        shutil.rmtree(self.path(step), ignore_errors=True)

    def _sorted(self) -> list[Path]:
        """Return the folders of checkpoints, the newest first; of a folder that a user named there is no talk."""
        found = (path for path in self.folder.glob(f"{PREFIX}*") if path.name.removeprefix(PREFIX).isdigit())
        return sorted(found, key=step_of, reverse=True)

    def _delete(self, path: Path) -> None:
        # The marker goes first: a kill in between leaves an incomplete checkpoint, not one that looks whole.
        (path / MARKER).unlink(missing_ok=True)
        shutil.rmtree(path)

    def _tell(self, path: Path, before: Identity, damaged: list[str]) -> None:
        if damaged:
            self._warn(f"going on from {path.name}, because what came after it is damaged: {'; '.join(damaged)}")
        if changed := self.identity.circumstances(before):
            self._warn(
                f"{path.name} was written under other circumstances ({'; '.join(changed)}): the training goes on, and "
                "its weights will not be those of an uninterrupted run to the bit"
            )

    def _relative(self) -> str | None:
        """Return what to say of an unfinished training of the same step that differs in little, if there is one."""
        step = self.folder.parent.name.rpartition("-")[0]
        found = []
        for marker in self.folder.parent.parent.glob(f"{step}-*/{self.folder.name}/{PREFIX}*/{MARKER}") if step else []:
            folder, told = marker.parents[2], _marker(marker.parent)
            if told is None or folder == self.folder.parent or (folder / RECORD).exists():
                continue
            changed = self.identity.essentials(Identity.read(told["identity"]))
            found.append((len(changed), -step_of(marker.parent), folder.name, changed))
        if not found or not 1 <= min(found)[0] <= _FEW:
            return None
        _, at, name, changed = min(found)
        return (
            f"this training begins at step 1; {name} holds an unfinished one at step {-at} that differs in "
            f"{'; '.join(changed)}: with that put back it would go on from there"
        )


def _from_weights(path: Path, identity: Identity) -> str:
    """Return how to go on from the weights alone of a checkpoint that ZeRO cut, by DeepSpeed's own way to join them."""
    if identity.settings.get("method") not in ("full", "freeze"):
        return ""  # of an adapter it holds no whole model
    # Not its program zero_to_fp32.py: that writes no safetensors of a model whose head is tied to its embeddings.
    program = (
        "from transformers import AutoModelForCausalLM as M; "
        "from deepspeed.utils.zero_to_fp32 import load_state_dict_from_zero_checkpoint as load; "
        f"load(M.from_pretrained('BASE'), '{path}').save_pretrained('FOLDER')"
    )
    return (
        f'or begin a new training with its weights: `python -c "{program}"`, BASE being the folder of the base model, '
        "copy the base's tokenizer to FOLDER, and set base: {step: local-model, folder: FOLDER}; "
    )


def checksum(path: Path) -> int:
    """Return the CRC-32 of a file: it finds what was changed by accident, at 4 GB/s where SHA-256 takes 1.7."""
    value = 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            value = zlib.crc32(block, value)
    return value


def checksums(files: Sequence[Path]) -> list[int]:
    """Return the CRC-32 of each file, some at once: those of a 7B model with its moments are 84 GB."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:  # neither reading nor summing holds the interpreter
        return list(pool.map(checksum, files))


def sums_of(path: Path) -> dict[str, list[int]]:
    """Return size and checksum of every file of a checkpoint by its name."""
    names = _files(path)
    sums = checksums([path / name for name in names])
    return {name: [(path / name).stat().st_size, check] for name, check in zip(names, sums, strict=True)}


def _files(path: Path) -> list[str]:
    """Return the names of a checkpoint's files, with their folders, its marker apart."""
    below = (file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file())
    return sorted(name for name in below if name != MARKER)


def _read(path: Path) -> dict[str, Any] | None:
    """Return what the marker of a checkpoint says, whatever it is, or None where there is none, or no JSON in it.

    Raises:
        OSError: it is there and cannot be read, which is no reason to delete a checkpoint.
    """
    try:
        told = json.loads((path / MARKER).read_text())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return told if isinstance(told, dict) else None


def _is_marker(told: dict[str, Any]) -> bool:
    """Whether a marker is of the form that this version writes."""
    try:
        Identity.read(told["identity"])
        return all(int(size) >= 0 and int(check) >= 0 for size, check in told["files"].values())
    except (AttributeError, ValueError, KeyError, TypeError):
        return False


def _marker(path: Path) -> dict[str, Any] | None:
    """Return what the marker of a checkpoint says, or None where there is none of this version."""
    told = _read(path)
    return told if told is not None and _is_marker(told) else None


def fault_in(path: Path, files: dict[str, Any]) -> str | None:
    """Return which file of a checkpoint is not as its marker says, or None."""
    for name, (size, _) in files.items():
        file = path / name
        if not file.is_file():
            return f"{name} is missing"
        if file.stat().st_size != size:
            return f"{name} has {file.stat().st_size:,} of {size:,} bytes"
    for (name, (_, check)), found in zip(files.items(), checksums([path / name for name in files]), strict=True):
        if found != check:
            return f"{name} was changed"
    return None


def step_of(path: Path) -> int:
    """Return the optimizer step after which a checkpoint was taken, from its folder's name; 0 for another name."""
    number = path.name.removeprefix(PREFIX)
    return int(number) if number.isdigit() else 0
