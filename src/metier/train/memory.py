"""What a training step of this room needs, worked out before it starts, on top of `metier.train.plan`. Light."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from metier.core import Estimate, Host, Mistake, Step
from metier.core.processes import Processes
from metier.core.types import Shaped
from metier.train.options import Settings, TrainingStep
from metier.train.plan import Job, Layout, Plan, lay_out, machine_of, shape_of
from metier.train.plan.choose import USABLE
from metier.train.plan.here import layout_here, machine_here
from metier.train.plan.job import ON_CORES, ON_GPUS, Precision

_FORMATS: dict[str, Precision] = {"bf16": "mixed", "mixed": "mixed", "fp16": "fp16", "fp32": "fp32"}
"""What a step's `precision`, which is that of matrix products, is to the planner."""

Trains = Settings | TrainingStep
"""What says a training's method, precision, optimizer, adapter and checkpointing."""


def parameters(config: Mapping[str, Any]) -> int:
    """Return the parameters of a model from its config.json. Raises KeyError if it does not say its shape."""
    try:
        return shape_of(config).parameters
    except Mistake as error:
        raise KeyError(error.what) from error


def plan_of(
    config: Mapping[str, Any],
    host: Host,
    *,
    window: int,
    trained: int,
    longest: int | None = None,
    training: Trains | None = None,
    accumulate: int = 1,
    tokens: int | None = None,
    here: bool = False,
) -> Plan:
    """Return the plan of a training on packed windows: one process, or one on each GPU of `host`.

    Args:
        window: tokens of the largest forward pass.
        trained: how many of them carry loss.
        longest: tokens of the longest row, which a pass cannot be smaller than; None: the whole pass.
        training: whose method, precision, optimizer, adapter and checkpointing count; None: all weights.
        accumulate: passes of an optimizer step, of all processes together.
        tokens: to train on in all, where that is known.
        here: whether to plan for the processes that are running, as torchrun and accelerate started them.

    Raises:
        Mistake: the config.json does not say the model's shape.
    """
    machine = machine_here(host, os.environ) if here else machine_of(host)
    rows = max(1, window // longest) if longest else 1
    checkpointing = "full" if training and training.gradient_checkpointing else "none"
    if here:
        layout = layout_here(os.environ, rows, checkpointing)  # type: ignore[arg-type]
    else:
        count = machine.all_devices
        layout = Layout(rows, checkpointing, "ddp" if count > 1 else "none", data=count)  # type: ignore[arg-type]
    passes = -(-accumulate // layout.data) if here else accumulate
    job = Job(
        shape_of(config),
        training.method if training else "full",
        _format(training.precision if training else "auto", host),
        sequence_length=-(-window // rows),
        rows=passes * rows * layout.data,
        rank=training.lora.rank if training else 16,
        trained_layers=training.trained_layers if training else 2,
        trained_share=trained / window,
        optimizer=training.optimizer if training else "adamw",
        tokens=tokens,
    )
    return lay_out(job, layout, machine)


def config_of(base: Step[Any]) -> dict[str, Any] | None:
    """Return the shape of the model at the bottom of a chain of trainings, or None where it is not known yet."""
    while isinstance(held := getattr(base, "base", None), Step):
        base = held
    return base.shape() if isinstance(base, Shaped) else None


def config_in(folder: Path) -> dict[str, Any] | None:
    """Return the config.json of a model folder, or None where there is none that can be read."""
    try:
        told = json.loads((folder / "config.json").read_text())
    except (OSError, ValueError):
        return None
    return told if isinstance(told, dict) else None


def estimate_of(
    base: Step[Any],
    host: Host,
    sequence_length: int,
    tokens: int | None = None,
    step: Trains | None = None,
    batch: int | None = None,
) -> Estimate | None:
    """Return what training on windows of all-trained tokens needs at most; None if the model's shape is not known.

    Args:
        tokens: how many are trained on, where that is known.
        step: the training, whose method, precision, optimizer, adapter, checkpointing and passes count.
        batch: tokens of an optimizer step at most, where that is known.
    """
    config = config_of(base)
    if config is None:
        return None
    window = max(sequence_length, pass_tokens(config, host, sequence_length, step, batch))
    passes = -(-batch // window) if batch else 1
    if batch:
        window = min(window, max(sequence_length, batch))
    try:
        plan = plan_of(
            config,
            host,
            window=window,
            trained=window,
            longest=sequence_length,
            training=step,
            accumulate=passes,
            tokens=tokens,
        )
    except Mistake:  # not shaped like a language model; the step itself will say so
        return None
    count, trained = plan.job.shape.parameters, plan.job.trained_parameters
    memory = plan.memory.peak  # of a GPU where there is one
    if plan.machine.on_cores:
        memory = max(memory, plan.memory.saving)
    # The model in float32, and two checkpoints of what is trained and its two moments.
    return Estimate(plan.seconds, memory, count * 4 + 2 * 12 * trained)


def pass_tokens(
    config: Mapping[str, Any] | None,
    host: Host,
    longest: int,
    training: Trains | None = None,
    batch: int | None = None,
) -> int:
    """Return how many tokens a forward pass takes at most on `host`; a longer row is a pass by itself.

    What the step's `pass_tokens` says, else `ON_CORES` or, on GPUs, the largest half of half of `ON_GPUS` ... that is
    predicted to fit. It is a field because the cut of an optimizer step into passes changes its gradient by rounding,
    and so the bytes that are made; the loss itself is the same. Where it is None the host decides, as it decides about
    `precision: auto`; a training that is resumed with another cut says so.

    Args:
        config: the model's config.json; without one nothing is foretold.
        longest: tokens of the longest row.
        training: whose method, precision, optimizer, adapter and checkpointing count.
        batch: tokens of an optimizer step; each process gets a part of it.
    """
    told = getattr(training, "pass_tokens", None)
    if told is not None:
        return int(told)
    if not host.gpus:
        return max(longest, ON_CORES)
    size = max(longest, ON_GPUS)
    processes = machine_here(host, os.environ).all_devices
    if batch:
        size = min(size, max(longest, -(-batch // processes)))
    while config is not None and size > longest:
        passes = -(-batch // size) if batch else 2 * processes
        more = {"longest": longest, "training": training, "accumulate": passes, "here": True}
        try:
            plan = plan_of(config, host, window=size, trained=size, **more)  # type: ignore[arg-type]
        except Mistake:
            break
        if plan.memory.peak <= USABLE * plan.machine.memory:
            break
        size = max(longest, size // 2)
    return size


def evened(training: Trains) -> int:
    """Return over how many processes the passes of a step are evened out; over one where the recipe says their size."""
    return 1 if getattr(training, "pass_tokens", None) is not None else Processes.here().total


def _format(precision: str, host: Host) -> Precision:
    if precision == "auto":
        return "mixed" if host.gpus or _bf16_instructions() else "fp32"
    return _FORMATS[precision]


@lru_cache(maxsize=1)
def _bf16_instructions() -> bool:
    """Whether these cores multiply in bf16, as `metier.train.network.bf16_pays` asks torch, without loading it."""
    facts = Path("/proc/cpuinfo")
    words = set(facts.read_text().split()) if facts.is_file() else set()
    return bool(words & {"avx512_bf16", "amx_tile"})
