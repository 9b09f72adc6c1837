"""`python -m tests.train.killed WORKSHOP MODEL KIND [WHERE STEP]` trains the tiny model, saving after every step.

KIND is sft, dpo or grpo. WHERE is what happens at STEP. The process ends itself by SIGKILL before the step's save
("step"), while the save writes ("save"), before its marker ("seal") or while that checkpoint is deleted ("room"). Or it
sends itself SIGTERM, and saves for nothing else ("term"). Or it finds the workshop's disk filled up at the save
("full"), or that no file may grow beyond 100 kB ("limit").
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from metier.core import Problem, Step, Workshop
from metier.core.types import Model
from metier.train import Dpo, Sft
from metier.train.checkpoint import MARKER, Cadence, Checkpoints, step_of
from tests.train.bench import HOST, Given, Pairs, Talks

FILLER = "filler"


def training(model: str) -> Sft:
    """The training that is killed and resumed: 54 steps."""
    return Sft(base=Given(at=model), data=(Talks(rows=60),), epochs=4, batch_rows=4, sequence_length=128)


def reinforcement(model: str) -> Step[Model]:
    """The reinforcement that is killed and resumed: 12 steps."""
    from tests.train.test_grpo import training as rewarded

    return rewarded(Path(model), steps=12)


def preferences(model: str) -> Step[Model]:
    """The preference training that is killed and resumed: 40 steps, validated, with dropout."""
    return Dpo(
        base=Given(at=model),
        pairs=Pairs(pairs=25),
        epochs=4,
        batch_pairs=2,
        dropout=0.1,
        validation_share=0.2,
        evaluations=8,
    )


MADE: dict[str, Callable[[str], Step[Model]]] = {"sft": training, "dpo": preferences, "grpo": reinforcement}


def _end(how: signal.Signals = signal.SIGKILL) -> None:
    os.kill(os.getpid(), how)


def _strike(workshop: Path, where: str, at: int) -> None:
    from transformers import Trainer

    from metier.train.watched import Watched

    log, random_state = Watched.log, Trainer._save_rng_state
    seal, delete, make_room = Checkpoints.seal, Checkpoints._delete, Checkpoints.make_room

    def logs(self: Any, told: dict[str, float], start_time: float | None = None) -> None:
        log(self, told, start_time)
        if where == "step" and "loss" in told and self.state.global_step == at:
            _end()

    def saves_random_state(self: Any, folder: str) -> None:  # the model and the optimizer are written by now
        if where == "save" and step_of(Path(folder)) == at:
            _end()
        random_state(self, folder)

    def seals(self: Checkpoints, step: int) -> None:
        if where == "seal" and step == at:
            _end()
        seal(self, step)

    def deletes(self: Checkpoints, path: Path) -> None:
        if where == "room" and step_of(path) == at:
            (path / MARKER).unlink()
            _end()
        delete(self, path)

    def makes_room(self: Checkpoints) -> None:
        make_room(self)
        if where == "full" and self.path(at - 1).is_dir():  # only now: what was deleted would be room enough
            with contextlib.suppress(OSError), (workshop / FILLER).open("wb", buffering=0) as file:
                while file.write(bytes(1 << 12)):
                    pass

    def due(self: Cadence, step: int) -> bool:
        if step == at and where == "limit":
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
        if step == at and where == "term":
            _end(signal.SIGTERM)
        return where != "term"

    for owner, name, function in (
        (Watched, "log", logs),
        (Trainer, "_save_rng_state", saves_random_state),
        (Checkpoints, "seal", seals),
        (Checkpoints, "_delete", deletes),
        (Checkpoints, "make_room", makes_room),
        (Cadence, "due", due),
    ):
        setattr(owner, name, function)


if __name__ == "__main__":
    place, model, kind, where, at = (*sys.argv[1:], "", "0")[:5]
    _strike(Path(place), where, int(at))
    try:
        Workshop(place, HOST).make(MADE[kind](model))
    except Problem as problem:
        sys.stderr.write(f"{problem}\n")
        sys.exit(problem.exit_code)
