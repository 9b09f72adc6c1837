"""When a plan does not fit after all: the next smaller one, and the comparison with what was measured."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

from metier.train.plan.choose import Plan, lay_out
from metier.train.plan.job import Job, Layout, Sharding
from metier.train.plan.machine import GB

_CUT_FURTHER: dict[str, tuple[Sharding, ...]] = {
    "ddp": ("zero-2", "zero-3"),
    "zero-1": ("zero-2", "zero-3"),
    "zero-2": ("zero-3",),
    "fsdp2": ("zero-3",),  # as small, and loaded by one process of a machine at a time
}
_SHORTEST_ROW = 128

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
    further over the devices, LoRA instead of all weights, QLoRA, all weights with their states moved off the devices
    (slow, and another way to start), and at last shorter rows.

    Args:
        measured: what `plan` was seen to need; predictions are scaled to it.
    """
    scale = max(1.0, measured / plan.memory.peak) if measured else 1.0
    for job, layout in _smaller(plan):
        found = lay_out(job, layout, plan.machine, "the next smaller plan", **_changes(plan, job, layout))
        scaled = found.memory._replace(peak=int(found.memory.peak * scale))
        found = replace(found, memory=scaled)
        if found.fits and scaled.peak < max(plan.memory.peak, measured or 0):
            return found
    return None


def fields_of(plan: Plan) -> dict[str, Any]:
    """Return the changes of a smaller plan as fields of a training step; what is no field is left out."""
    names = ("method", "gradient_checkpointing", "sequence_length")
    found: dict[str, Any] = {name: plan.changes[name] for name in names if name in plan.changes}
    if "micro_batch" in plan.changes:
        found["pass_tokens"] = plan.layout.micro_batch * plan.job.sequence_length
    if "rank" in plan.changes:
        found["lora"] = {"rank": plan.changes["rank"]}
    return found


def _smaller(plan: Plan) -> Iterator[tuple[Job, Layout]]:
    """Yield what is smaller than `plan`, the least painful first."""
    job, layout = plan.job, plan.layout
    for layout in list(_passes(plan.layout))[1:]:
        yield job, layout
    if job.method != "qlora":
        for sharding in _CUT_FURTHER.get(layout.sharding, ()):
            yield job, replace(layout, sharding=sharding, replicas=1, all_read=False)
    plain = replace(plan.layout, sharding="ddp" if layout.devices > 1 else "none", replicas=1)
    plain = replace(plain, optimizer_at="device", parameters_at="device", all_read=False)
    if job.method in ("full", "freeze"):
        # As it is started now; or not cut: without gradients of all weights the states need not be moved about.
        cut = [replace(plain, sharding=sharding) for sharding in _CUT_FURTHER.get(plain.sharding, ())]
        for one in dict.fromkeys((plan.layout, plain, *cut)):
            for smaller in _passes(one):
                yield replace(job, method="lora"), smaller
    four_bit = replace(job, method="qlora")
    if job.method != "qlora":
        for smaller in _passes(plain):
            yield four_bit, smaller
    if job.method == "full":
        for away in _moved_off(layout, plan):
            yield job, away
    smallest = list(_passes(plain))[-1]
    while four_bit.sequence_length >= 2 * _SHORTEST_ROW:
        four_bit = replace(four_bit, sequence_length=four_bit.sequence_length // 2)
        yield four_bit, smallest


def _passes(layout: Layout) -> Iterator[Layout]:
    """Yield `layout`, then smaller passes, then gradient checkpointing."""
    yield layout
    while layout.micro_batch > 1:
        layout = replace(layout, micro_batch=layout.micro_batch // 2)
        yield layout
    if layout.checkpointing == "none":
        yield replace(layout, checkpointing="full")


def _moved_off(layout: Layout, plan: Plan) -> Iterator[Layout]:
    """Yield layouts whose states rest in the node's memory, then on its disks."""
    if plan.machine.on_cores:
        return
    layout = replace(layout, all_read=False)
    if layout.optimizer_at == "device":
        sharding: Sharding = "zero-3" if layout.sharding in ("zero-3", "fsdp2") else "zero-2"
        yield replace(layout, sharding=sharding, optimizer_at="cpu", replicas=1)
    if layout.parameters_at == "device":
        yield replace(layout, sharding="zero-3", optimizer_at="cpu", parameters_at="cpu", replicas=1)
    if plan.machine.nvme is not None and layout.parameters_at != "nvme":
        yield replace(layout, sharding="zero-3", optimizer_at="nvme", parameters_at="nvme", replicas=1)


def _changes(plan: Plan, job: Job, layout: Layout) -> dict[str, Any]:
    """Return what differs, by the names of steps' fields where there is one."""
    found: dict[str, Any] = {}
    if layout.micro_batch != plan.layout.micro_batch:
        found["micro_batch"] = layout.micro_batch
    if layout.checkpointing != plan.layout.checkpointing:
        found["gradient_checkpointing"] = True
    for name in ("sharding", "optimizer_at", "parameters_at"):
        if getattr(layout, name) != getattr(plan.layout, name):
            found[name] = getattr(layout, name)
    if job.method != plan.job.method:
        found["method"] = job.method
        if plan.job.method not in ("lora", "qlora"):
            found["rank"] = job.rank
    if job.sequence_length != plan.job.sequence_length:
        found["sequence_length"] = job.sequence_length
    return found
