"""Bytes that the backward pass needs of a forward pass, a layer at a time."""

from __future__ import annotations

from typing import Literal, NamedTuple

from metier.train.plan.job import Job, Layout
from metier.train.plan.shape import Shape


class Kept(NamedTuple):
    """What autograd keeps of one token in one layer: bytes for each unit of width, inner, queries, keys, and rank."""

    width: float
    inner: float
    queries: float
    keys: float
    rank: float = 0.0


# Counted with torch.autograd.graph.saved_tensors_hooks over seven shapes of transformers 5.23's Llama with SDPA: exact,
# not fitted. Norms keep float32; q, k, v each keep a copy of their input under autocast.
_KEPT = {
    ("full", "fp32"): Kept(24, 16, 8, 8),
    ("full", "mixed"): Kept(26, 8, 4, 4),
    ("full", "bf16"): Kept(16, 8, 4, 4),
    ("lora", "fp32"): Kept(16, 16, 8, 8, 28),
    ("lora", "mixed"): Kept(18, 8, 6, 4, 14),
    ("lora", "bf16"): Kept(28, 10, 8, 4, 28),  # adapters in float32 take a float32 copy of their input
    ("lora", "narrow"): Kept(12, 8, 4, 4, 14),  # DeepSpeed and FSDP2 compute with adapters in 16 bits
}


def format_of(job: Job, layout: Layout) -> Literal["fp32", "mixed", "bf16"]:
    """Return the number format that the layers compute in."""
    if job.precision == "fp32":
        return "fp32"
    return "bf16" if layout.narrow or job.precision == "bf16" else "mixed"


def layer_bytes(job: Job, layout: Layout, tokens: int) -> float:
    """Return what one layer keeps of `tokens` tokens on one device."""
    shape = job.shape
    method = "lora" if job.method in ("lora", "qlora") else "full"
    precision = format_of(job, layout)
    narrow = method == "lora" and layout.narrow and precision == "bf16"
    kept = _KEPT[(method, "narrow" if narrow else precision)]
    keys, queries = kept.keys, kept.queries
    if job.attention in ("packed", "eager"):  # keys and values are repeated for every head of queries
        keys, queries = 0.0, queries + keys
    # A plain MLP keeps two of the four tensors of a gated one.
    inner = kept.inner * shape.active_inner * (1.0 if shape.matrices == 3 else 0.5)
    split = inner + queries * shape.queries + keys * shape.keys + 4 * shape.heads
    scores = 0.0
    if job.attention == "eager":  # softmax in float32, and its 16-bit copy
        scores = shape.heads * job.sequence_length * (4 if precision == "fp32" else 6)
    routed = (shape.active - 1) * 2 * shape.width * (4 if precision == "fp32" else 2) if shape.experts > 1 else 0
    whole = kept.width * shape.width + kept.rank * job.rank + 8 + routed
    return tokens * (whole + (split + scores) / layout.tensor)


def checkpoint_bytes(job: Job, layout: Layout, tokens: int) -> float:
    """Return what is kept of a layer that is computed again: its input."""
    return tokens * job.shape.width * (2.0 if format_of(job, layout) == "bf16" else 4.0)


Recompute = Literal["none", "selective", "full"]


def korthikanti_bytes(
    shape: Shape,
    tokens: int,
    sequence_length: int,
    tensor: int = 1,
    *,
    sequence_parallel: bool = True,
    recompute: Recompute = "none",
    dropout: bool = False,
) -> float:
    """Return the 16-bit activations of one layer on one of `tensor` devices.

    With a plain MLP of four widths and dropout it is Korthikanti et al. 2022, "Reducing Activation Recomputation in
    Large Transformer Models": sbh(34 + 5as/h), eq. 1; eq. 2 without and eq. 4 with sequence parallelism; eq. 6 with
    selective recomputation. A gated MLP and grouped queries are counted in the same way.
    """
    width, mask = shape.width, 1 if dropout else 0
    # Not split by tensor parallelism alone: two norms, the inputs of attention and MLP, two dropout masks.
    outside = 2 * 2 * width + 2 * 2 * width + 2 * mask * width
    projections = 2 * shape.queries + 4 * shape.keys + 2 * shape.queries  # queries, keys and values, what leaves
    mlp = (2 + 2 if shape.matrices == 2 else 2 + 2 + 2) * shape.active_inner  # before and after the non-linearity
    # Softmax, its dropout's mask and its dropout's result, for every pair of positions.
    scores = (5 if dropout else 2) * shape.heads * sequence_length if recompute == "none" else 0
    if recompute == "full":
        return 2.0 * tokens * width / (tensor if sequence_parallel else 1)
    inside = (projections + mlp + scores) / tensor
    return tokens * (outside / (tensor if sequence_parallel else 1) + inside)


def megatron_layer_bytes(job: Job, tokens: int, tensor: int, recompute: Literal["none", "full"]) -> float:
    """Return the activations of one layer under Megatron-LM: flash attention computes scores again by itself."""
    kind: Recompute = "full" if recompute == "full" else "selective"
    return korthikanti_bytes(job.shape, tokens, job.sequence_length, tensor, recompute=kind)
