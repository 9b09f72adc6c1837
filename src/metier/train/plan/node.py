"""A node's own memory before and after a training: while weights are read, and while the result is put together.

Read in the source of transformers 5.23, accelerate 1.15 and DeepSpeed 0.19. Weights pass through the node's
memory on their way to the devices, and each process reads them for itself unless it is told otherwise:

- As they are, and under ZeRO-1, ZeRO-2 and FSDP2: every process holds all of them in the format that
  `metier.train.adapt` asks for, until the trainer moves them. Files are mapped into memory; the pages of a file that
  already is in that format count for all processes together, and can be dropped, but a plan does not know the file.
  With `fsdp_cpu_ram_efficient_loading` accelerate sends out what the first process holds, and transformers 5 reads
  the weights on the others all the same: of a model of 415 MB in float32, read from files in bf16, each of three
  processes had 419 MB for itself. In bf16, of the same files, it was 4 MB at most.
- ZeRO-3 with `zero3_init_flag`: none does. Parameters are cut while the model is built, and filled layer by layer from
  the mapped files of the first process.
- QLoRA: one tensor at a time is read, sent to the device and quantised there; transformers reads none ahead then.
"""

from __future__ import annotations

from metier.train.plan.job import Job, Layout

SHARD = 50 * 10**9
"""Bytes of the largest file of a saved model: transformers' default, put together in memory before it is written."""


def read_bytes(job: Job, layout: Layout, processes: int, away: float) -> float:
    """Return the bytes of a node's memory that weights take at most while they are read, beside the programs.

    Args:
        processes: of this node.
        away: bytes of parameters that rest in the node's memory for one process, where they are offloaded.
    """
    shape = job.shape
    if job.method == "qlora":
        return processes * 4.0 * shape.vocabulary * shape.width  # the largest, in float32
    whole = _loaded_width(job) * shape.parameters
    readers = 0 if layout.sharding == "zero-3" and not layout.all_read else processes
    return readers * whole + processes * away


def written_bytes(job: Job, layout: Layout, packed: float, *, on_cores: bool) -> float:
    """Return the bytes of a node's memory that the first process takes at most after the last step.

    Weights that were cut are put together in float32 and filled into the base, which is read again. An adapter is
    merged in float32; a four-bit base stands beside that as it is. Else a file of the model is put together, for
    which cores need no copy.

    Args:
        packed: bytes of a four-bit base.
    """
    whole, trained = 4.0 * job.shape.parameters, 4.0 * job.trained_parameters
    found = 0.0 if on_cores else min(whole, SHARD)
    if layout.sharding not in ("none", "ddp"):
        found = max(found, trained + _loaded_width(job) * job.shape.parameters)
    if job.method in ("lora", "qlora"):
        found = max(found, whole)
    return found + (packed if job.method == "qlora" else 0.0)


def _loaded_width(job: Job) -> float:
    """Return the bytes of a weight as it is read: a frozen base in 16 bits, what is trained in float32."""
    return 2.0 if job.method in ("lora", "qlora") and job.precision != "fp32" else 4.0
