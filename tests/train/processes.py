"""`python -m tests.train.processes FOLDER MODEL METHOD` trains the tiny model, alone or as one of several processes."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from metier.train.options import Method, Settings
from metier.train.packing import Group, optimizer_batches
from metier.train.schedule import schedule
from metier.train.tune import tune
from tests.train.bench import rows_with_prefixes, work_in


def train(folder: Path, model: Path, method: Method) -> None:
    """Train for six steps of four forward passes each, in float32."""
    groups = [Group((row,), 0) for row in rows_with_prefixes(0, 24)]
    plan = schedule([optimizer_batches(groups, [1] * 24, 4)], 32)
    assert (plan.accumulate, plan.steps) == (4, 6)
    settings = Settings(learning_rate=1e-3, warmup=0.1, weight_decay=0.0, seed=0, method=method, precision="fp32")
    tune(model, plan, settings, work_in(folder / os.environ.get("RANK", "alone")))


if __name__ == "__main__":
    train(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])  # type: ignore[arg-type]
