"""A GRPO step drawn and scored by this house beside TRL's own: `python -m benchmarks.train.injection_speed [STEPS]`.

Both are TRL's trainer on the same prompts from the same weights, those of SFT on 400 SQL rows: 4 prompts of some 80
tokens, 8 answers of some 20 to each, a process each, one thread, processor seconds of whole optimizer steps. TRL draws
by transformers' `generate` and scores padded rows, in passes of 8 answers, its default; ours takes them in one of 32.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.record import Row, save
from benchmarks.train.injection_steps import SQL_ROWS

STEPS = 2
_SIDES = ("ours", "trl")
_OWN = ("_generate_single_turn", "_get_per_token_logps_and_entropies", "_compute_loss")


def main() -> None:
    """Run both sides, or the one that is named."""
    if sys.argv[1:2] and sys.argv[1] in _SIDES:
        print(json.dumps(seconds_per_step(sys.argv[1], int(sys.argv[2]))))
        return
    steps = int(sys.argv[1]) if sys.argv[1:] else STEPS
    found = {side: _apart(side, steps) for side in _SIDES}
    ours, theirs = (round(found[side]["seconds"], 1) for side in _SIDES)
    told = f"SmolLM2-135M, SFT on {SQL_ROWS} SQL rows, {steps} steps of 4 prompts x 8 answers, one thread"
    note = f"answers of {found['ours']['tokens']:.0f} and {found['trl']['tokens']:.0f} tokens on average"
    row = Row("GRPO step", "trl", ours, theirs, round(theirs / ours, 2), "CPU s", told, ours * steps, note=note,
              peer_version=version("trl"))  # fmt: skip
    save("train", [row])


def seconds_per_step(side: str, steps: int) -> dict[str, float]:
    """Train some steps in this process; return processor seconds of one, and the mean length of an answer."""
    import trl

    from benchmarks.train.injection import MATERIAL, domain_in
    from benchmarks.train.injection_steps import fine_tuned
    from metier.core import Host, Workshop
    from metier.train import Grpo
    from metier.train.reinforce import RewardTrainer

    spent: list[float] = []

    class Timed(RewardTrainer):
        def training_step(self, *given: Any) -> Any:
            start = time.process_time()
            loss = super().training_step(*given)
            spent.append(time.process_time() - start)
            return loss

    if side == "trl":
        for name in _OWN:
            setattr(Timed, name, getattr(trl.GRPOTrainer, name))
    import metier.train.reinforce as room

    room.RewardTrainer = Timed  # type: ignore[misc]
    domain, host = domain_in(MATERIAL), Host(cores=1, threads=1, memory_bytes=Host.here().memory_bytes)
    base = fine_tuned(domain, domain.origin, seed=0)
    made = Workshop(MATERIAL / "runs").make_all([base, domain.fresh])
    with tempfile.TemporaryDirectory() as folder:
        for artifact in made:
            (Path(folder) / artifact.folder.name).symlink_to(artifact.folder.absolute())
        passes = 32 if side == "ours" else 8
        step = Grpo(base=base, data=(domain.fresh,), steps=steps, answers_per_pass=passes, max_tokens=64)
        logged = Workshop(folder, host).make(step).events("log")
    return {"seconds": sum(spent) / steps, "tokens": sum(event["answer_tokens"] for event in logged) / steps}


def _apart(side: str, steps: int) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.train.injection_speed", side, str(steps)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


if __name__ == "__main__":
    main()
