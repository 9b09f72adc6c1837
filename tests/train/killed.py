"""`python -m tests.train.killed WORKSHOP MODEL [grpo]` trains the tiny model, saving after every step."""

from __future__ import annotations

import sys
from pathlib import Path

from metier.core import Step, Workshop
from metier.core.types import Model
from metier.train import Sft
from metier.train.checkpoint import Cadence
from tests.train.bench import HOST, Given, Talks


def training(model: str) -> Sft:
    """The training that is killed and resumed: 54 steps."""
    return Sft(base=Given(at=model), data=(Talks(rows=60),), epochs=4, batch_rows=4, sequence_length=128)


def reinforcement(model: str) -> Step[Model]:
    """The reinforcement that is killed and resumed: 30 steps."""
    from tests.train.test_grpo import training as rewarded

    return rewarded(Path(model), steps=30)


if __name__ == "__main__":
    Cadence.due = lambda *_: True  # type: ignore[method-assign]
    made = reinforcement if "grpo" in sys.argv[3:] else training
    Workshop(Path(sys.argv[1]), HOST).make(made(sys.argv[2]))
