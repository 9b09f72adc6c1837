"""`python -m tests.train.killed WORKSHOP MODEL [grpo|dpo|full|limit]` trains the tiny model, saving after every step.

full: before the save of step 5 the disk of the workshop fills up. limit: before it, no file may grow beyond 100 kB.
"""

from __future__ import annotations

import contextlib
import resource
import sys
from pathlib import Path

from metier.core import Problem, Step, Workshop
from metier.core.types import Model
from metier.train import Dpo, Sft
from metier.train.checkpoint import Cadence
from tests.train.bench import HOST, Given, Pairs, Talks

FILLER = "filler"


def training(model: str) -> Sft:
    """The training that is killed and resumed: 54 steps."""
    return Sft(base=Given(at=model), data=(Talks(rows=60),), epochs=4, batch_rows=4, sequence_length=128)


def reinforcement(model: str) -> Step[Model]:
    """The reinforcement that is killed and resumed: 30 steps."""
    from tests.train.test_grpo import training as rewarded

    return rewarded(Path(model), steps=30)


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


def _save_always(workshop: Path, kind: str) -> None:
    def due(self: Cadence, step: int) -> bool:
        if step == 5 and kind == "limit":
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
        if step == 5 and kind == "full":
            with contextlib.suppress(OSError), (workshop / FILLER).open("wb", buffering=0) as file:
                while file.write(bytes(1 << 12)):
                    pass
        return True

    Cadence.due = due  # type: ignore[method-assign]


if __name__ == "__main__":
    kind = (*sys.argv[3:], "")[0]
    _save_always(Path(sys.argv[1]), kind)
    made = {"grpo": reinforcement, "dpo": preferences}.get(kind, training)
    try:
        Workshop(sys.argv[1], HOST).make(made(sys.argv[2]))
    except Problem as problem:
        sys.stderr.write(f"{problem}\n")
        sys.exit(problem.exit_code)
