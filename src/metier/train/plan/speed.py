"""Time: an estimate good enough to compare layouts with each other, and to plan a day.

Operations over the peak that a well-fed device reaches, plus what of the communication cannot hide behind them.
"""

from __future__ import annotations

from typing import NamedTuple

from metier.train.plan.job import Job, Layout
from metier.train.plan.machine import Machine

# Share of the peak that matrix products of wide models reach. With the narrowing below an 8B model gets 47% and, with
# its pipeline's bubble, Llama 3 405B the published 41 to 43% (Grattafiori et al. 2024, table 4).
_REACHED = 0.6
_HALF_WIDTH, _HALF_TOKENS = 1024, 256  # width and tokens of a pass at which half of that is reached
_HIDDEN = 0.7  # share of the computing behind which gradients and gathered weights can travel
_STEP_BYTES = 28  # read and written for a weight by Adam: gradient, weight, two moments
_HOST_MEMORY = 100e9  # bytes/s of a node's memory under DeepSpeed's Adam on cores


class Timing(NamedTuple):
    """Seconds of one optimizer step. operations: of the model itself, recomputing not counted, on all devices."""

    compute: float
    communication: float
    offload: float
    update: float
    bubble: float
    operations: float

    @property
    def seconds(self) -> float:
        """All of it."""
        return self.compute + self.communication + self.offload + self.update + self.bubble


def operations_per_token(job: Job) -> float:
    """Return the operations of training on one token: 6N for all weights, 4N for adapters, and causal attention."""
    forward = _forward(job)
    share = job.layers_trained / job.shape.layers
    back = {"full": 2.0, "freeze": 2.0 * share, "lora": 1.0, "qlora": 1.0}[job.method]
    return forward * (1 + back) + 6.0 * (job.trained_parameters if job.method in ("lora", "qlora") else 0)


def _forward(job: Job) -> float:
    shape = job.shape
    attention = 2.0 * job.sequence_length * shape.queries * shape.layers  # scores and values, half of them masked
    head = shape.vocabulary * shape.width
    # The head is multiplied only where there is loss.
    matrices = shape.matrix_parameters - head + head * (job.trained_share if job.head == "chunked" else 1.0)
    return 2.0 * matrices + attention


def timing(job: Job, layout: Layout, machine: Machine) -> Timing:
    """Return the seconds of one optimizer step."""
    passes = layout.accumulation(job)
    tokens = job.sequence_length * layout.micro_batch / layout.context  # of one pass on one device
    operations = operations_per_token(job)
    spent = operations + (_forward(job) if layout.checkpointing == "full" else 0.0)
    cut = layout.tensor * layout.pipeline
    compute = passes * tokens * spent / (_reached(job, machine, tokens) * cut)
    if job.method == "qlora":  # every matrix is unpacked on both ways: half a byte read, two written and read
        compute += passes * 2 * job.shape.parameters * 4.5 / machine.bandwidth / cut
    communication = _communication(job, layout, machine, passes, tokens)
    exposed = max(0.0, communication.hideable - _HIDDEN * compute) + communication.blocking
    offload, update = _optimizer(job, layout, machine, passes)
    # Each stage's layers take turns in up to four parts (interleaved 1F1B), which shortens the bubble as often.
    parts = min(4, job.shape.layers // layout.pipeline)
    bubble = compute * (layout.pipeline - 1) / (passes * parts) if layout.pipeline > 1 else 0.0
    return Timing(compute, exposed, offload, update, bubble, operations * job.tokens_per_step)


def _reached(job: Job, machine: Machine, tokens: float) -> float:
    """Return the operations a second of one device."""
    peak = machine.peak_flops / (2 if job.precision == "fp32" else 1)
    if machine.on_cores:  # the peak is one that was measured in training
        return peak
    width = job.shape.width
    return peak * _REACHED * width / (width + _HALF_WIDTH) * tokens / (tokens + _HALF_TOKENS)


class _Traffic(NamedTuple):
    hideable: float
    blocking: float


def _communication(job: Job, layout: Layout, machine: Machine, passes: int, tokens: float) -> _Traffic:
    """Return the seconds of what travels between devices in a step, by whether it can hide behind computing.

    Data parallel moves the gradients twice over (reduce-scatter and all-gather); with cut weights they are gathered on
    both ways of every pass too, 1.5 times as much (Rajbhandari et al. 2020, §7).
    """
    if layout.devices == 1:
        return _Traffic(0.0, 0.0)
    shape, cut = job.shape, layout.tensor * layout.pipeline
    within = layout.devices <= machine.devices or (layout.replicas > 1 and layout.shards <= machine.devices)
    ring = machine.link if within else machine.net
    weights, gradients = 2.0 * shape.parameters / cut, 2.0 * job.trained_parameters / cut
    if job.method == "qlora":
        weights /= 4
    share = (layout.shards - 1) / layout.shards
    if layout.sharding == "zero-3":
        moved = passes * (2 * weights + gradients) * share
    elif layout.sharding == "fsdp2":  # gradients are cut after the last pass of a step
        moved = (passes * 2 * weights + gradients) * share
    elif layout.sharding == "zero-2":  # gradients are cut after every pass
        moved = (passes + 1) * gradients * share
    else:
        moved = 2 * gradients * share
    travel = moved / ring
    if layout.replicas > 1:  # each node sums its part of the gradients with the other nodes
        travel += 2 * gradients / layout.shards * (layout.replicas - 1) / layout.replicas / machine.net
    blocking = 0.0
    if layout.tensor > 1:  # two all-reduces a layer on each way, twice the states of a pass each
        ways = 3 if layout.checkpointing == "full" else 2
        states = 2.0 * tokens * shape.width
        blocking += passes * shape.layers / layout.pipeline * ways * 2 * 2 * states / machine.link / 2
    if layout.context > 1:  # keys and values go round, their gradients come back
        blocking += passes * shape.layers * 3 * 2 * 2.0 * tokens * shape.keys / machine.link * (layout.context - 1) / 2
    return _Traffic(travel, blocking)


def _optimizer(job: Job, layout: Layout, machine: Machine, passes: int) -> tuple[float, float]:
    """Return the seconds of moving what does not rest on the device, and of the update."""
    cut = layout.tensor * layout.pipeline
    trained, count = job.trained_parameters / cut, job.shape.parameters / cut
    shards = layout.shards if layout.sharding not in ("none", "ddp") else 1
    node = min(machine.devices, layout.devices)
    offload = 0.0
    if layout.parameters_at != "device":  # read for every way of every pass, each device its share
        read = passes * 2 * 2.0 * count / shards
        offload += read / machine.host_link if layout.parameters_at == "cpu" else read * node / machine.nvme_speed
    if layout.optimizer_at == "device":
        return offload, _STEP_BYTES * trained / shards / machine.bandwidth
    offload += (2.0 * passes + 2.0) * trained / shards / machine.host_link  # gradients out, weights back
    update = _STEP_BYTES * trained / shards * node / _HOST_MEMORY
    if layout.optimizer_at == "nvme":  # moments and float32 weights, read and written
        update += 24.0 * trained / shards * node / machine.nvme_speed
    return offload, update
