"""`python -m tests.train.processes WORKSHOPS MODEL LAYOUT:NAME...` trains the tiny model, as one or as one of several.

Each training is made in the workshop of its layout's name, or in that before a slash: `there/fsdp2:again`. With the
layout "given" it is the launcher's.
"""

from __future__ import annotations

import json
import math
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from metier.core import Progress, Workshop
from metier.core.errors import Problem
from metier.core.processes import Processes, to_be_said
from metier.corpus.pack import Pack
from metier.train import Cpt, Dpo, Kto, Sft
from metier.train.checkpoint import Cadence
from metier.train.options import Method, Precision, TrainingStep
from metier.train.trainer import PackedTrainer
from metier.train.watch.options import Watch
from tests.train.bench import HOST, Channels, Given, Pairs, Talks, Thumbs
from tests.train.test_grpo import training as reinforcement

FSDP2 = {
    "ACCELERATE_USE_FSDP": "true",
    "FSDP_VERSION": "2",
    "FSDP_RESHARD_AFTER_FORWARD": "true",
    "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
    "FSDP_STATE_DICT_TYPE": "SHARDED_STATE_DICT",
    "FSDP_CPU_RAM_EFFICIENT_LOADING": "true",
}


def zero(folder: Path, stage: int, offload: bool = False) -> dict[str, str]:
    """Return the variables of a stage of ZeRO, whose configuration is written into `folder`."""
    parts: dict[str, Any] = {"stage": stage, "overlap_comm": not offload, "contiguous_gradients": True}
    parts |= {"stage3_param_persistence_threshold": 640} if stage == 3 else {}
    if offload:
        parts |= {name: {"device": "cpu", "pin_memory": True} for name in ("offload_optimizer", "offload_param")}
    names = ("train_micro_batch_size_per_gpu", "gradient_accumulation_steps", "train_batch_size", "gradient_clipping")
    told = dict.fromkeys(names, "auto") | {"zero_optimization": parts, "zero_force_ds_cpu_optimizer": False}
    told |= {"bf16": {"enabled": "auto"}}
    path = folder / f"deepspeed-{stage}-{offload}-{os.getpid()}.json"
    path.write_text(json.dumps(told))
    return {
        "ACCELERATE_USE_DEEPSPEED": "true",
        "ACCELERATE_DEEPSPEED_CONFIG_FILE": str(path),
        "ACCELERATE_DEEPSPEED_ZERO3_INIT": str(stage == 3).lower(),
    }


def lay_out(how: str, folder: Path) -> None:
    """Set the variables of a layout, "one", "ddp", "fsdp2" or "zero-1" to "zero-3-offload", and forget the last one."""
    from accelerate import PartialState

    if how == "given":
        return
    for name in list(os.environ):
        if name.startswith(("ACCELERATE_", "FSDP_")):
            del os.environ[name]
    if how == "fsdp2":
        os.environ.update(FSDP2)
    elif how.startswith("zero"):
        os.environ.update(zero(folder, int(how[5]), offload=how.endswith("offload")))
    PartialState._reset_state()


def training(name: str, base: Given) -> TrainingStep:
    """Return a training of passes that two processes cannot share evenly: cpt, sft, again on its model, dpo or kto.

    A "watched" one is looked into before and at its end, and has rows set aside. One that "returns" goes back to an
    earlier step where its loss is not finite.
    """
    method: Method = "lora" if name.endswith("lora") else "freeze" if name.endswith("freeze") else "full"
    precision: Precision = "bf16" if "bf16" in name else "fp32"
    watched: dict[str, Any] = {}
    if "watched" in name:
        watch = Watch(forgetting="stop", forgotten_nats=90, repeated_share=1, unended_share=1, looks=1)
        watched = {"watch": watch, "validation_share": 0.25, "evaluations": 2}
    if "returns" in name:
        watched = {"watch": Watch(looks=0, not_finite="rollback", checkpoint_steps=2, rate_after_rollback=0.5)}
        watched["scheduler"] = "constant"  # DeepSpeed leaves the step out, and the schedule with it
    if name.startswith("dpo"):
        return Dpo(
            base=base, pairs=Pairs(pairs=13), batch_pairs=4, learning_rate=1e-3, sequence_length=192, pass_tokens=100,
            method=method, precision=precision, **watched,
        )  # fmt: skip
    if name.startswith("kto"):
        return Kto(
            base=base, judgements=Thumbs(rows=26), batch_answers=10, learning_rate=1e-3, sequence_length=192,
            pass_tokens=100, most_lost=50, precision="fp32", **watched,
        )  # fmt: skip
    if name == "grpo":
        return reinforcement(Path(base.at), steps=2)
    if name == "cpt":
        return Cpt(
            base=base, packed=Pack(corpus=Channels(), model=base, sequence_length=64), batch_tokens=320, epochs=1,
            learning_rate=1e-3, precision="fp32",
        )  # fmt: skip
    base_of = training("sft", base) if name == "again" else base
    return Sft(
        base=base_of, data=(Talks(rows=40),), batch_rows=9, learning_rate=1e-3, sequence_length=192, pass_tokens=192,
        method=method, trained_layers=1, precision=precision, epochs=1, **watched,
    )  # fmt: skip


def break_in_step(which: int, what: str) -> None:
    """Make the "loss" of the last process NaN in a step of every training, once, or its "gradient" infinite."""
    compute, broken = PackedTrainer.compute_loss, set[int]()

    def compute_loss(self: Any, *args: Any, **kwargs: Any) -> Any:
        loss = compute(self, *args, **kwargs)
        here = Processes.here()
        if not self.recording or self.state.global_step != which - 1 or id(self) in broken:
            return loss
        broken.add(id(self))
        if here.rank != here.total - 1:
            return loss
        if what == "loss":
            return loss * math.nan
        loss.register_hook(lambda gradient: gradient * math.inf)
        return loss

    PackedTrainer.compute_loss = compute_loss  # type: ignore[method-assign]


def end_after_step(last: int) -> None:
    """Send SIGTERM to the last of the processes at the end of an optimizer step."""

    def due(self: Cadence, step: int) -> bool:
        if step == last and (here := Processes.here()).rank == here.total - 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return False

    Cadence.due = due  # type: ignore[method-assign]


def main(arguments: Sequence[str]) -> None:
    """Do what the words after the program's name say, as this process of those that were launched."""
    folder, model, *words = arguments
    if asked := os.environ.get("METIER_TEST_END"):
        end_after_step(int(asked))
    if asked := os.environ.get("METIER_TEST_BREAK"):
        step, _, what = asked.partition(":")
        break_in_step(int(step), what)
    for word in words:
        where, _, name = word.partition(":")
        lay_out(where.rpartition("/")[2], Path(folder))
        shop = Workshop(Path(folder) / where.partition("/")[0], HOST, Progress(sys.stderr))
        shop.make(training(name, Given(at=model)))


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except Problem as problem:
        if to_be_said(problem):
            print(problem, file=sys.stderr)
        sys.exit(problem.exit_code)
