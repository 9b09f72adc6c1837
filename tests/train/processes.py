"""`python -m tests.train.processes WORKSHOP MODEL NAME...` trains the tiny model, as one or as one of several."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from metier.core import Progress, Step, Workshop
from metier.core.types import Model
from metier.train import Dpo, Sft
from metier.train.checkpoint import Cadence
from metier.train.options import Method, TrainingStep
from tests.train.bench import HOST, Given, Pairs, Talks


def training(name: str, base: Step[Model]) -> TrainingStep:
    """Return a training in float32 whose passes two processes cannot share evenly: sft or dpo, full, lora or long."""
    kind, _, how = name.partition("-")
    method: Method = "lora" if how == "lora" else "full"
    if kind == "dpo":
        return Dpo(
            base=base, pairs=Pairs(pairs=13), batch_pairs=4, learning_rate=1e-3, sequence_length=192, pass_tokens=100,
            method=method, precision="fp32",
        )  # fmt: skip
    return Sft(
        base=base, data=(Talks(rows=40),), batch_rows=9, learning_rate=1e-3, sequence_length=192, pass_tokens=192,
        method=method, precision="fp32", epochs=60 if how == "long" else 1, evaluations=3,
        validation_share=0.1 if how == "valid" else 0.0,
    )  # fmt: skip


if __name__ == "__main__":
    if os.environ.get("METIER_TEST_SAVES"):
        Cadence.due = lambda *_: True  # type: ignore[method-assign]
    shop = Workshop(Path(sys.argv[1]), HOST, Progress.here())
    for one in sys.argv[3:]:
        shop.make(training(one, Given(at=sys.argv[2])))
