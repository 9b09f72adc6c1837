"""`python -m tests.train.killed WORKSHOP MODEL` fine-tunes the tiny model, saving after every step."""

from __future__ import annotations

import sys
from pathlib import Path

from metier.core import Workshop
from metier.train import Sft
from metier.train.checkpoint import Cadence
from tests.train.bench import HOST, Given, Talks


def training(model: str) -> Sft:
    """The training that is killed and resumed: 54 steps."""
    return Sft(base=Given(at=model), data=(Talks(rows=60),), epochs=4, batch_rows=4, sequence_length=128)


if __name__ == "__main__":
    Cadence.due = lambda self: True  # type: ignore[method-assign]
    Workshop(Path(sys.argv[1]), HOST).make(training(sys.argv[2]))
