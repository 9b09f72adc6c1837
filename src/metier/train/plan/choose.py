"""The choice: every layout is tried on paper, and the fastest that fits is taken."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

from metier.train.plan.job import Checkpointing, Job, Layout, Memory, Method, Sharding
from metier.train.plan.machine import GB, Machine
from metier.train.plan.memory import memory_of
from metier.train.plan.speed import Timing, timing

AT_MOST: dict[Method, float] = {"full": 3.0, "lora": 1.5}
"""How many times as long as the fastest method a method may take before the next one on the ladder is chosen."""

USABLE = 0.95
"""Share of a device's or a node's memory that a plan may fill."""

ROOMY = 0.85
"""Share of a device's memory up to which nobody has to worry about one long batch."""

_SHARDINGS: tuple[Sharding, ...] = ("zero-1", "zero-2", "zero-3", "fsdp2")

_ON_PAPER = "on paper: "

LADDER: tuple[Method, ...] = ("full", "lora", "qlora")


@dataclass(frozen=True)
class Plan:
    """A job on a machine in one layout, what it needs, and the alternatives it was compared with.

    why: for what reason it was chosen, or does not do, in a few words; empty where it simply fits.
    changes: step fields that differ from the plan that this one is smaller than.
    """

    job: Job
    layout: Layout
    machine: Machine
    memory: Memory
    timing: Timing
    why: str = ""
    alternatives: tuple[Plan, ...] = ()
    changes: dict[str, Any] = field(default_factory=dict)

    @property
    def fits(self) -> bool:
        """Whether everything fits, and the trainer can lay it out so."""
        return not self.reason

    @property
    def reason(self) -> str:
        """Why it does not do, or nothing."""
        told = _why_not(self.job, self.layout, self.machine, self.memory)
        return told[1] if told else ""

    @property
    def on_paper(self) -> bool:
        """Whether it is shown for comparison only: these trainers have nothing of the kind."""
        return self.reason.startswith(_ON_PAPER)

    @property
    def lacking(self) -> Literal["device", "host", "disk"] | None:
        """Whose memory is too small, if that is the reason."""
        told = _why_not(self.job, self.layout, self.machine, self.memory)
        return told[0] if told else None

    @property
    def warning(self) -> str:
        """What is short only after the last step, or nothing: the training runs, and its checkpoints are safe."""
        needs, there = self.memory.saving, self.machine.ram
        if needs <= USABLE * there:
            return ""
        what = "merging the adapter" if self.job.method in ("lora", "qlora") else "putting the weights together"
        return (
            f"{what} after the last step takes about {needs / GB:,.0f} GB of a machine's RAM, and it has "
            f"{there / GB:,.0f} GB: go on from the checkpoint on one with more, or add swap"
        )

    @property
    def seconds(self) -> float | None:
        """Seconds for all tokens, or None where their number is not known."""
        tokens = self.job.tokens
        return None if tokens is None else self.timing.seconds * tokens / self.job.tokens_per_step

    @property
    def tokens_per_second(self) -> float:
        """Tokens a second on all devices."""
        return self.job.tokens_per_step / self.timing.seconds

    @property
    def words(self) -> str:
        """The plan in one line."""
        job, layout = self.job, self.layout
        method = f"{job.method} (rank {job.rank})" if job.method in ("lora", "qlora") else job.method
        parts = [method, layout.name, f"micro-batch {layout.micro_batch} x {job.sequence_length}"]
        if (passes := layout.accumulation(job)) > 1:
            parts.append(f"accumulation {passes}")
        if layout.checkpointing != "none":
            parts.append("gradient checkpointing")
        return f"{', '.join(parts)}: {self.memory.peak / GB:.1f} GB of {self.machine.memory / GB:.1f} GB"


def lay_out(job: Job, layout: Layout, machine: Machine, why: str = "", **changes: Any) -> Plan:
    """Return the plan of one layout, whether it fits or not."""
    memory, time = memory_of(job, layout, machine), timing(job, layout, machine)
    return Plan(job, layout, machine, memory, time, why, changes=changes)


_Lack = tuple[Literal["device", "host", "disk"] | None, str]


def _why_not(job: Job, layout: Layout, machine: Machine, memory: Memory) -> _Lack | None:
    """Return what is too small, if it is that, and the reason in words; None if nothing speaks against it."""
    if layout.sharding == "megatron":
        return None, f"{_ON_PAPER}these trainers have no pipeline; Megatron-LM has"
    if layout.tensor > 1 or layout.context > 1:
        return None, f"{_ON_PAPER}these trainers cut neither matrices nor rows"
    if job.method == "qlora" and layout.sharding == "fsdp2":
        return None, f"{_ON_PAPER}FSDP2 cuts four-bit weights only if they are stored as floats"
    if layout.data * layout.micro_batch > job.rows:
        return None, f"an optimizer step has only {job.rows} rows for {layout.data} devices"
    if job.rows % (layout.data * layout.micro_batch):
        return None, f"{job.rows} rows of an optimizer step cannot be shared evenly by {layout.data} devices"
    if memory.peak > USABLE * machine.memory:
        return "device", f"needs {memory.peak / GB:.1f} GB of a device with {machine.memory / GB:.1f} GB"
    if memory.nvme and machine.nvme is None:
        return None, "no disks were named: add nvme= to the host"
    if machine.nvme is not None and memory.nvme > USABLE * machine.nvme:
        return "disk", f"needs {memory.nvme / GB:,.0f} GB of disks with {machine.nvme / GB:,.0f} GB a node"
    if memory.host > USABLE * machine.ram:
        return "host", f"needs {memory.host / GB:,.0f} GB beside the devices, a node has {machine.ram / GB:,.0f} GB"
    if memory.loading > USABLE * machine.ram:
        return "host", f"needs {loading_words(layout, memory, machine)}"
    return None


def loading_words(layout: Layout, memory: Memory, machine: Machine) -> str:
    """Return what loading takes of a node's memory, why, and what there is."""
    why = ""
    if layout.all_read:
        why = ", as every process reads all weights: set accelerate's zero3_init_flag"
    elif layout.devices > 1:
        why = ", as every process reads all weights"
        why += ": ZeRO-3 cuts them as they are read" if layout.sharding == "fsdp2" else ""
    return f"{memory.loading / GB:,.0f} GB of a node's {machine.ram / GB:,.0f} GB while the model is loaded{why}"


def plan_for(job: Job, machine: Machine, *, ladder: Literal["down", "up"] | None = None) -> Plan:
    """Return the plan for `job`, with every alternative that was considered.

    Args:
        ladder: None keeps the job's method. "down" takes all weights, else LoRA, else QLoRA: the first that fits and
            takes no more than `AT_MOST` times as long as the fastest of them. "up" begins with QLoRA, or LoRA
            where that is faster, and leaves the rest for when exam scores ask for more.
    """
    methods = LADDER if ladder else (job.method,)
    of_method = {method: best_layouts(replace(job, method=method), machine) for method in methods}
    every = tuple(plan for plans in of_method.values() for plan in plans)
    best = {
        method: _simplest(fitting)
        for method, plans in of_method.items()
        if (fitting := [plan for plan in plans if plan.fits])
    }
    if not best:
        real = [plan for plan in every if not plan.on_paper] or every
        nearest = min(real, key=lambda plan: plan.memory.peak / plan.machine.memory + plan.memory.node / machine.ram)
        return replace(nearest, why="nothing fits; this needs least", alternatives=every)
    chosen, why = _rung(best, ladder)
    return replace(chosen, why=why, alternatives=every)


def _simplest(fitting: list[Plan]) -> Plan:
    """Return the first of the plans that are within a twentieth of the fastest, with room to spare where there is one.

    They come in the order in which they are easy to run.
    """
    fastest = min(plan.timing.seconds for plan in fitting)
    near = [plan for plan in fitting if plan.timing.seconds <= 1.05 * fastest]
    on_device = [plan for plan in near if plan.layout.optimizer_at == plan.layout.parameters_at == "device"]
    near = on_device or near
    roomy = [plan for plan in near if plan.memory.peak <= ROOMY * plan.machine.memory]
    return roomy[0] if roomy else min(near, key=lambda plan: plan.memory.peak)


def _rung(best: dict[Method, Plan], ladder: Literal["down", "up"] | None) -> tuple[Plan, str]:
    if ladder is None:
        return next(iter(best.values())), "the fastest that fits"
    if ladder == "up":
        lowest = next(best[method] for method in reversed(LADDER) if method in best)
        # Four bits are for want of memory: where LoRA fits as it is and is as fast, they buy nothing.
        if lora := best.get("lora"):
            lowest = min(lora, lowest, key=lambda plan: plan.timing.seconds)
        rungs = LADDER[: LADDER.index(lowest.job.method)]
        above = [method for method in reversed(rungs) if method in best]
        return lowest, f"the cheapest first; if exam scores ask for more: {', then '.join(above) or 'nothing fits'}"
    passed = []
    fastest = min(plan.timing.seconds for plan in best.values())
    for method in LADDER:
        if (plan := best.get(method)) is None:
            passed.append(f"{method} does not fit")
            continue
        times = plan.timing.seconds / fastest
        if times <= AT_MOST.get(method, times):
            return plan, "; ".join(passed) or "the highest method that fits"
        passed.append(f"{method} would take {times:.1f} times as long")
    raise AssertionError("the fastest is never too slow")


def best_layouts(job: Job, machine: Machine) -> list[Plan]:
    """Return a plan for each kind of layout: the fastest micro-batch and checkpointing that fits, else the smallest."""
    kinds: dict[str, list[Plan]] = {}
    for layout in _layouts(job, machine):
        plan = lay_out(job, layout, machine)
        kinds.setdefault(layout.name, []).append(plan)
    found = []
    for plans in kinds.values():
        # What is on paper only is shown at its best too.
        roomy = [plan for plan in plans if plan.memory.peak <= USABLE * machine.memory]
        fitting = [plan for plan in plans if plan.fits] or roomy
        # A larger micro-batch that saves less than a fiftieth is not worth its memory.
        fastest = min((plan.timing.seconds for plan in fitting), default=0.0)
        near = [plan for plan in fitting if plan.timing.seconds <= 1.02 * fastest]
        found.append(min(near or plans, key=lambda plan: plan.memory.peak))
    return found


def _layouts(job: Job, machine: Machine) -> Iterator[Layout]:
    for kind in _kinds(job, machine):
        most = max(1, job.rows // kind.data)
        micro = 1
        while micro <= most and (micro == 1 or micro * job.sequence_length <= 1 << 17):
            for checkpointing in get_args(Checkpointing):
                yield replace(kind, micro_batch=micro, checkpointing=checkpointing)
            micro *= 2


def _kinds(job: Job, machine: Machine) -> Iterator[Layout]:
    """Yield every layout that makes sense here, micro-batch and checkpointing apart."""
    count = machine.all_devices
    if machine.on_cores:
        yield Layout(sharding="ddp" if count > 1 else "none", data=count)
        if count > 1 and job.method != "qlora":
            for sharding in _SHARDINGS[1:]:
                yield Layout(sharding=sharding, data=count)
        return
    yield Layout(sharding="ddp" if count > 1 else "none", data=count)
    if job.method == "qlora":  # DeepSpeed does not cut four-bit weights as they are
        if count > 1:
            yield Layout(sharding="fsdp2", data=count)
        return
    if count > 1:
        for sharding in _SHARDINGS:
            yield Layout(sharding=sharding, data=count)
        if machine.nodes > 1 and machine.devices > 1:
            yield Layout(sharding="fsdp2", data=count, replicas=machine.nodes)
        yield from _cut_rows(job, machine)
    if job.method != "lora":
        yield Layout(sharding="zero-2", optimizer_at="cpu", data=count)
    yield Layout(sharding="zero-3", optimizer_at="cpu", parameters_at="cpu", data=count)
    if machine.nvme is not None:
        yield Layout(sharding="zero-3", optimizer_at="nvme", parameters_at="nvme", data=count)
    if job.method == "full" and count > machine.devices:
        yield from _on_paper(job, machine)


def _cut_rows(job: Job, machine: Machine) -> Iterator[Layout]:
    """Yield FSDP2 with tensor or context parallel groups within a node: what accelerate's configuration has."""
    size = 2
    while size <= machine.devices:
        data = machine.all_devices // size
        if job.shape.groups % size == 0 and machine.all_devices % size == 0:
            yield Layout(sharding="fsdp2", data=data, tensor=size)
        if job.sequence_length % (2 * size) == 0 and job.sequence_length // size >= 1024:
            yield Layout(sharding="fsdp2", data=data, context=size)
        size *= 2


def _on_paper(job: Job, machine: Machine) -> Iterator[Layout]:
    """Yield tensor parallel within a node times a pipeline, as Megatron-LM and Llama 3 have it."""
    tensor = machine.devices
    if job.shape.heads % tensor:
        return
    pipeline = 2
    while pipeline <= min(32, machine.nodes):
        if machine.nodes % pipeline == 0:
            yield Layout(sharding="megatron", data=machine.nodes // pipeline, tensor=tensor, pipeline=pipeline)
        pipeline *= 2
