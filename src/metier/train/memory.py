"""What a training step of this room needs, worked out before it starts, on top of `metier.train.plan`. Light."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from metier.core import Estimate, Host, Mistake, Step
from metier.core.types import Shaped
from metier.train.plan import Job, Layout, Plan, lay_out, machine_of, shape_of
from metier.train.plan.job import Method, Optimizer, Precision
from metier.train.plan.memory import INTERPRETER

_FORMATS: dict[str, Precision] = {"bf16": "mixed", "mixed": "mixed", "fp16": "fp16", "fp32": "fp32"}
"""What a step's `precision`, which is that of matrix products, is to the planner."""

_MERGING = {"lora": 4, "qlora": 12}
"""Bytes a parameter while an adapter is merged: the result in float32; from four bits, both ways and the values."""


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
    method: Method = "full",
    precision: str = "auto",
    gradient_checkpointing: bool = False,
    rank: int = 16,
    trained_layers: int = 2,
    optimizer: Optimizer = "adamw",
    accumulate: int = 1,
    tokens: int | None = None,
) -> Plan:
    """Return the plan of a training on packed windows: one process, or one on each GPU of `host`.

    Args:
        window: tokens of the longest forward pass.
        trained: how many of them carry loss.
        accumulate: passes of an optimizer step.
        tokens: to train on in all, where that is known.

    Raises:
        Mistake: the config.json does not say the model's shape.
    """
    machine = machine_of(host)
    job = Job(
        shape_of(config),
        method,
        _format(precision, host),
        sequence_length=window,
        rows=accumulate * machine.all_devices,
        rank=rank,
        trained_layers=trained_layers,
        trained_share=trained / window,
        optimizer=optimizer,
        tokens=tokens,
    )
    sharding = "ddp" if machine.all_devices > 1 else "none"
    checkpointing = "full" if gradient_checkpointing else "none"
    layout = Layout(1, checkpointing, sharding, data=machine.all_devices)  # type: ignore[arg-type]
    return lay_out(job, layout, machine)


def memory_bytes(config: Mapping[str, Any], window: int, trained: int) -> int:
    """Return the peak memory of training all weights on CPU, on windows of `window` tokens, `trained` with loss.

    Raises KeyError if the config.json does not say the model's shape.
    """
    try:
        return plan_of(config, Host(1, 1, 1 << 40), window=window, trained=trained, precision="bf16").memory.peak
    except Mistake as error:
        raise KeyError(error.what) from error


def config_of(base: Step[Any]) -> dict[str, Any] | None:
    """Return the shape of the model at the bottom of a chain of trainings, or None where it is not known yet."""
    while isinstance(held := getattr(base, "base", None), Step):
        base = held
    return base.shape() if isinstance(base, Shaped) else None


def estimate_of(
    base: Step[Any], host: Host, sequence_length: int, tokens: int | None = None, step: Step[Any] | None = None
) -> Estimate | None:
    """Return what training on windows of all-trained tokens needs at most; None if the model's shape is not known.

    Args:
        tokens: how many are trained on, where that is known.
        step: the training, whose method, precision, optimizer, adapter and checkpointing count.
    """
    config = config_of(base)
    if config is None:
        return None
    window = window_tokens(host, sequence_length)
    try:
        plan = plan_of(config, host, window=window, trained=window, tokens=tokens, **_settings_of(step))
    except Mistake:  # not shaped like a language model; the step itself will say so
        return None
    count, trained = plan.job.shape.parameters, plan.job.trained_parameters
    memory = plan.memory.peak  # of a GPU where there is one
    if plan.machine.on_cores:
        memory = max(memory, INTERPRETER + _MERGING.get(plan.job.method, 0) * count)
    # The model in float32, and two checkpoints of what is trained and its two moments.
    return Estimate(plan.seconds, memory, count * 4 + 2 * 12 * trained)


def _settings_of(step: Step[Any] | None) -> dict[str, Any]:
    names = ("method", "precision", "gradient_checkpointing", "trained_layers", "optimizer")
    told = {name: getattr(step, name) for name in names if hasattr(step, name)}
    if (adapter := getattr(step, "lora", None)) is not None:
        told["rank"] = adapter.rank
    return told


def window_tokens(host: Host, sequence_length: int) -> int:
    """Return how many tokens one forward pass takes on `host`, never less than the longest row.

    On CPU 1024: half of that was a tenth slower with 135M parameters, and more was not tried. On a GPU 16,384, to keep
    the multiprocessors busy.
    """
    return max(sequence_length, 16_384 if host.gpus else 1024)


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
