"""Bytes: what a job needs on a device, in the memory of its node and on its disks.

States after Rajbhandari et al. 2020 ("ZeRO") and 2021 ("ZeRO-Infinity"), four-bit weights after Dettmers et al. 2023
("QLoRA"), activations counted from what autograd keeps in the Llama of transformers 5 (and, for Megatron-LM, after
Korthikanti et al. 2022).
"""

from __future__ import annotations

from typing import NamedTuple

from metier.train.plan.activations import checkpoint_bytes, format_of, layer_bytes, megatron_layer_bytes
from metier.train.plan.job import Job, Layout, Memory, adapter_width
from metier.train.plan.machine import Machine
from metier.train.plan.node import read_bytes, written_bytes

NF4_BITS = 4 + 8 / 64 + 32 / (64 * 256)
"""Bits of a weight in 4-bit NormalFloat: an 8-bit scale for 64 of them, a 32-bit one for 256 of those (QLoRA, §3)."""

INTERPRETER = 700 << 20
"""Python with torch and transformers loaded, on CPU."""

WORKSPACE = 14 << 20
"""What the kernels' own caches and small blocks take on CPU: the mean over the benchmark's "fit" configurations."""

CONTEXT = 900 << 20
"""What the driver and the libraries' workspaces take of an accelerator: 0.5 to 1 GB."""

COLLECTIVES = 1 << 30
"""Buffers of NCCL, and the buckets in which gradients are gathered."""

HOST_PROCESS = 4 << 30
"""A process that drives one accelerator, and its pinned buffers."""

FRAGMENTS = 0.05
"""Share of activations lost between blocks by the caching allocator."""

LOSS_CHUNK, LOSS_KEPT = 1 << 28, 1 << 30  # CHUNK_BYTES and KEEP_BYTES of metier.train.loss, which imports torch


_MOMENTS = {"adamw": 8.0, "adamw_8bit": 2.0, "paged_adamw_8bit": 2.0, "adafactor": 0.1, "lion": 4.0, "sgd": 0.0}
"""Bytes of a weight's float32 moments; Adafactor keeps a row and a column of each matrix."""


class States(NamedTuple):
    """Bytes of all weights, gradients and optimizer states, before they are cut over devices."""

    parameters: float
    gradients: float
    optimizer: float


def states_of(job: Job, layout: Layout) -> States:
    """Return the bytes of the whole job's states.

    16 bytes a trained weight with mixed precision: 2 + 2 + 12 where DeepSpeed holds float32 copies, 4 + 4 + 8 where
    autocast makes the 16-bit ones. ZeRO-Infinity's offload keeps float32 gradients too: 20 bytes.
    """
    trained, count = job.trained_parameters, job.shape.parameters
    copies = layout.sharding in ("zero-1", "zero-2", "zero-3", "megatron") and job.precision != "fp32"
    moments = _MOMENTS[job.optimizer]
    half = job.precision in ("bf16", "fp16") or copies
    weight, gradient = (2.0, 2.0) if half else (4.0, 4.0)
    if job.method in ("lora", "qlora"):
        # The base has neither gradients nor moments. Adapters are float32; DeepSpeed holds those beside 16-bit ones.
        frozen = 4.0 if job.precision == "fp32" else 2.0
        base = quantised_bytes(job) if job.method == "qlora" else count * frozen
        adapter, master = (2.0, 4.0) if copies else (4.0, 0.0)
        return States(base + adapter * trained, adapter * trained, (moments + master) * trained)
    if copies:
        moments += 4 + (4 if layout.optimizer_at != "device" else 0)  # master weights, and gradients beside them
        gradient = 4.0 if layout.sharding == "megatron" else gradient  # accumulated in float32
    elif job.precision == "bf16":
        moments /= 2 if job.optimizer == "adamw" else 1
    elif job.precision == "fp16":
        weight, gradient = 4.0, 4.0  # fp16 always keeps float32 weights: autocast
    return States(weight * count, gradient * trained, moments * trained)


def quantised_bytes(job: Job) -> float:
    """Return the bytes of a base whose linear layers are in four bits; embeddings and norms are in 16 or 32."""
    shape = job.shape
    norms = shape.layers * 2 * shape.width + shape.width
    linear = shape.parameters - shape.embedding_parameters - norms
    return linear * NF4_BITS / 8 + (2 if job.precision == "bf16" else 4) * (shape.embedding_parameters + norms)


def head_bytes(job: Job, tokens: int, table: float) -> float:
    """Return what logits and loss need at once, at `tokens` positions of a pass.

    Args:
        table: bytes of the gradient of the head's weights, 0 if they are not trained.
    """
    vocabulary = job.shape.vocabulary
    if job.head == "whole":
        # The log-softmax in float32, its gradient, and that of the logits, which alone is left for the head's own.
        return tokens * vocabulary * 4.0 + max(tokens * vocabulary * 8.0, table)
    width = 4 if job.precision == "fp32" else 2
    scored = tokens * job.trained_share
    chunk = min(scored * vocabulary * 4, LOSS_CHUNK)
    kept = scored * vocabulary * width
    slopes = kept if kept <= LOSS_KEPT else chunk
    copy = job.shape.vocabulary * job.shape.width * width if table else 0
    return slopes + chunk * (2 + width / 4) + copy + table


def memory_of(job: Job, layout: Layout, machine: Machine) -> Memory:
    """Return what one device, and its node, need."""
    if layout.sharding == "megatron":
        return _megatron(job, layout, machine)
    states, shards = states_of(job, layout), layout.shards
    cut_parameters = shards if layout.sharding in ("zero-3", "fsdp2") else 1
    cut_gradients = shards if layout.sharding in ("zero-2", "zero-3", "fsdp2") else 1
    cut_optimizer = shards if layout.sharding not in ("none", "ddp") else 1
    parameters = states.parameters / cut_parameters / layout.tensor
    gradients = states.gradients / cut_gradients / layout.tensor
    optimizer = states.optimizer / cut_optimizer / layout.tensor
    away = 0.0 if layout.parameters_at == "device" else parameters
    if layout.sharding == "fsdp2" and layout.accumulation(job) > 1:
        # accelerate leaves out the reduce-scatter of all passes but the last: gradients add up whole, in 16 bits.
        gradients += (4.0 if job.precision == "fp32" else 2.0) * job.trained_parameters / layout.tensor
    moved = 0.0
    if layout.optimizer_at != "device":  # gradients follow as they come
        moved, optimizer, gradients = optimizer + gradients, 0.0, 0.0
    if job.optimizer.startswith("paged") and not machine.on_cores:  # pages go to the node's memory when room is short
        moved, optimizer = moved + optimizer, 0.0
    tokens = layout.micro_batch * job.sequence_length // layout.context
    activations, working, cached = _activations(job, layout, tokens)
    table = 0.0
    if job.method == "full":
        table = states.gradients / job.shape.parameters * job.shape.vocabulary * job.shape.width
    logits = head_bytes(job, tokens, table) / layout.tensor
    if cut_parameters > 1:  # the layer at work and the next one, and the largest table, whole and in 16 bits
        width = 4 if job.precision == "fp32" else 2
        whole = 2 * job.shape.layer_parameters + job.shape.vocabulary * job.shape.width
        share = quantised_bytes(job) / (2 * job.shape.parameters) if job.method == "qlora" else 1.0
        working += whole * width * share / layout.tensor
    overhead = _overhead(machine, layout, activations + logits + working)
    resident = parameters - away + optimizer
    # A table that is embedding and head at once gets two gradients, and their sum is a third.
    end = gradients + max(working, 2 * table / layout.tensor if job.shape.tied else 0.0)
    start = activations + max(logits + cached, working)
    # In one pass the gradients grow while the activations shrink. Only where passes accumulate do they add up.
    dynamic = start + gradients if layout.accumulation(job) > 1 else max(start, end) + _holes(job, machine, activations)
    return Memory(
        int(parameters - away),
        int(gradients),
        int(optimizer),
        int(activations),
        int(logits),
        int(max(working, cached)),
        int(overhead),
        int(resident + dynamic + overhead),
        *_beside(layout, machine, moved, away),
        *_passing(job, layout, machine, away),
    )


def _holes(job: Job, machine: Machine, activations: float) -> float:
    """Return what glibc's heap holds back in a step of ours on cores: see `metier.train.allocator`.

    Blocks below 4 MB are not given back when they are freed, and the gradients do not fit into the holes that
    activations leave. Where a threshold of 128 KB was set instead there were none (`benchmarks/train/memory.py`).
    """
    if not machine.on_cores or job.head != "chunked" or job.method != "full":
        return 0.0
    layers = job.shape.parameters - job.shape.embedding_parameters
    return min(4.0 * layers, activations)


def _activations(job: Job, layout: Layout, tokens: int) -> tuple[float, float, float]:
    """Return what is kept for the way back, what comes and goes on it, and what autocast keeps up to the pass's head.

    The last are the 16-bit copies of all trained matrices, which autocast holds until its block ends. Without
    checkpointing they are kept for the way back anyhow; with it, they are why a forward pass needs more than it leaves.
    """
    shape, layers = job.shape, job.layers_trained
    layer = layer_bytes(job, layout, tokens)
    number_format = format_of(job, layout)
    ends = tokens * shape.width * (8 if number_format == "bf16" else 12)  # embeddings and the last norm
    inner = shape.active_inner / layout.tensor
    width = 4 if job.precision == "fp32" else 2
    working = tokens * (3 * inner * width + 3 * shape.width * 4)
    if job.method == "qlora":  # the largest matrix, unpacked to 16 bits for its product
        working += 2 * shape.width * shape.inner
    copies = 0.0
    if number_format == "mixed":  # autocast keeps 16-bit copies of the matrices
        adapters = job.method in ("lora", "qlora")
        copies = 2.0 * (job.rank * adapter_width(shape) if adapters else shape.layer_parameters - 2 * shape.width)
    if layout.checkpointing == "full":
        return layers * checkpoint_bytes(job, layout, tokens) + ends, working + layer + copies, layers * copies
    return layers * (layer + copies) + ends, working, 0.0


def _megatron(job: Job, layout: Layout, machine: Machine) -> Memory:
    """Tensor and pipeline parallel with a distributed optimizer, sequence parallel, as Megatron-LM has it.

    The first stage of a pipeline holds the activations of as many passes as there are stages (one forward, one
    backward: 1F1B), and a table; Korthikanti et al. 2022, §4.2.3.
    """
    states, shape = states_of(job, layout), job.shape
    stage = 1 / layout.pipeline * (1 - shape.embedding_parameters / shape.parameters)
    ends = shape.vocabulary * shape.width / shape.parameters
    share = (stage + ends) / layout.tensor
    parameters, gradients = states.parameters * share, states.gradients * share
    optimizer = states.optimizer * share / layout.shards
    tokens = layout.micro_batch * job.sequence_length // layout.context
    layers = -(-shape.layers // layout.pipeline)
    in_flight = min(layout.pipeline, layout.accumulation(job))
    kept = megatron_layer_bytes(job, tokens, layout.tensor, recompute=layout.checkpointing)
    activations = layers * kept * in_flight
    working = megatron_layer_bytes(job, tokens, layout.tensor, recompute="none")
    logits = tokens * shape.vocabulary * 12 / layout.tensor if layout.pipeline == 1 else 0.0
    overhead = _overhead(machine, layout, activations)
    total = parameters + gradients + optimizer + activations + working + logits + overhead
    parts = (parameters, gradients, optimizer, activations, logits, working, overhead, total)
    return Memory(*(int(part) for part in parts))._replace(host=machine.devices * HOST_PROCESS)


def _overhead(machine: Machine, layout: Layout, dynamic: float) -> float:
    if machine.on_cores:
        return INTERPRETER + WORKSPACE
    return CONTEXT + (COLLECTIVES if layout.devices > 1 else 0) + FRAGMENTS * dynamic


def _beside(layout: Layout, machine: Machine, optimizer: float, parameters: float) -> tuple[int, int]:
    """Return the bytes that rest in the memory and on the disks of a node."""
    if machine.on_cores:
        return 0, 0
    devices = min(machine.devices, layout.devices)
    host, nvme = float(devices * HOST_PROCESS), 0.0
    for place, share in ((layout.optimizer_at, optimizer), (layout.parameters_at, parameters)):
        if place in ("cpu", "device"):  # on the device itself only pages of the optimizer are left over
            host += share * devices
        elif place == "nvme":
            nvme += share * devices
            host += devices * (2 << 30)  # buffers that are read ahead and written behind
    return int(host), int(nvme)


def _passing(job: Job, layout: Layout, machine: Machine, away: float) -> tuple[int, int]:
    """Return the bytes of a node's memory while weights are read, and while the result is put together."""
    # On cores each node is one process, and what it reads whole is part of its peak.
    processes = 1 if machine.on_cores else min(machine.devices, layout.devices)
    program = INTERPRETER if machine.on_cores else processes * HOST_PROCESS
    cut = layout.sharding in ("zero-3", "fsdp2")
    loading = program + read_bytes(job, layout, processes, away) if cut or not machine.on_cores else 0.0
    return int(loading), int(program + written_bytes(job, layout, quantised_bytes(job), on_cores=machine.on_cores))
