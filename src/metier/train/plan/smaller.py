"""When a plan does not fit after all: the next smaller one, and the comparison with what was measured."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

from metier.train.plan.choose import Plan, lay_out
from metier.train.plan.job import Job, Layout, Sharding
from metier.train.plan.machine import GB

_CUT_FURTHER: dict[str, Sharding] = {"ddp": "zero-2", "zero-1": "zero-2", "zero-2": "zero-3"}

WITHIN = 0.10
"""How far a prediction may be from what is measured, as a share of the measured."""


class Checked(NamedTuple):
    """Predicted against measured bytes. error: predicted / measured - 1. fits: whether the measured is available."""

    predicted: int
    measured: int
    available: int | None
    error: float
    within: bool
    fits: bool

    @property
    def words(self) -> str:
        """The comparison in one line."""
        told = f"peak memory {self.measured / GB:.2f} GB, predicted {self.predicted / GB:.2f} GB ({self.error:+.0%})"
        if self.available is not None:
            told += f", {self.available / GB:.2f} GB there"
        return told


def check(predicted: int, measured: int, available: int | None = None) -> Checked:
    """Compare a predicted peak with the measured one, and the measured with what is available."""
    error = predicted / measured - 1 if measured else 0.0
    fits = available is None or measured <= available
    return Checked(predicted, measured, available, error, abs(error) <= WITHIN, fits)


def next_smaller(plan: Plan, measured: int | None = None) -> Plan | None:
    """Return the first plan below `plan` that fits the same machine, or None if none does.

    In this order: smaller passes (the same loss, a little slower), gradient checkpointing (a third slower), states cut
    over the devices, then moved off them, LoRA instead of all weights, QLoRA, and at last shorter rows.

    Args:
        measured: what `plan` was seen to need; predictions are scaled to it.
    """
    scale = max(1.0, measured / plan.memory.peak) if measured else 1.0
    changes: dict[str, Any] = {}
    job, layout = plan.job, plan.layout
    while step := next(_steps(job, layout, plan), None):
        job, layout, change = step
        changes |= change
        found = lay_out(job, layout, plan.machine, "the next smaller plan", **changes)
        scaled = found.memory._replace(peak=int(found.memory.peak * scale))
        found = replace(found, memory=scaled)
        if found.fits and scaled.peak < max(plan.memory.peak, measured or 0):
            return found
    return None


def _steps(job: Job, layout: Layout, plan: Plan) -> Iterator[tuple[Job, Layout, dict[str, Any]]]:
    """Yield what could be made smaller next, the least painful first."""
    machine = plan.machine
    if layout.micro_batch > 1:
        half = layout.micro_batch // 2
        yield job, replace(layout, micro_batch=half), {"micro_batch": half}
    if layout.checkpointing == "none":
        yield job, replace(layout, checkpointing="full"), {"gradient_checkpointing": True}
    cut = _CUT_FURTHER.get(layout.sharding)
    if cut and job.method != "qlora":
        yield job, replace(layout, sharding=cut), {"sharding": cut}
    if not machine.on_cores and job.method == "full" and layout.sharding != "fsdp2":
        if layout.optimizer_at == "device":
            sharding: Sharding = "zero-3" if layout.sharding == "zero-3" else "zero-2"
            away = replace(layout, sharding=sharding, optimizer_at="cpu")
            yield job, away, {"sharding": sharding, "optimizer_at": "cpu"}
        elif layout.parameters_at == "device":
            away = replace(layout, sharding="zero-3", parameters_at="cpu")
            yield job, away, {"sharding": "zero-3", "parameters_at": "cpu"}
    # Without gradients of all weights the states need not be moved about: back to the plain layout.
    plain = replace(layout, sharding="ddp" if layout.devices > 1 else "none")
    plain = replace(plain, optimizer_at="device", parameters_at="device")
    if job.method in ("full", "freeze"):
        yield replace(job, method="lora"), plain, {"method": "lora", "rank": job.rank}
    if job.method == "lora":
        yield replace(job, method="qlora"), plain, {"method": "qlora"}
    if job.sequence_length >= 256:
        half = job.sequence_length // 2
        yield replace(job, sequence_length=half), layout, {"sequence_length": half}
