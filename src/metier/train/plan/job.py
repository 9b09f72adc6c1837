"""What is to be trained, how it is laid out over devices, and what that needs: the words of a plan."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

from metier.core import Mistake
from metier.train.plan.shape import Shape

Method = Literal["full", "freeze", "lora", "qlora"]
Precision = Literal["mixed", "bf16", "fp16", "fp32"]
Optimizer = Literal["adamw", "adamw_8bit", "paged_adamw_8bit", "adafactor", "lion", "sgd"]
Attention = Literal["packed", "sdpa", "flash", "eager"]
Head = Literal["chunked", "whole"]
Checkpointing = Literal["none", "full"]
Sharding = Literal["none", "ddp", "zero-1", "zero-2", "zero-3", "fsdp2", "megatron"]
Place = Literal["device", "cpu", "nvme"]


ON_CORES, ON_GPUS = 1024, 16_384
"""Tokens of a forward pass where the rows and the memory allow it.

On cores half of that was a tenth slower with 135M parameters, and more was not tried. On a GPU so many keep the
multiprocessors busy.
"""


@dataclass(frozen=True)
class Job:
    """A training, whatever it runs on.

    precision: mixed is float32 weights and bf16 products (DeepSpeed: bf16 weights with float32 copies), bf16 is weights
    and gradients and moments in bf16, fp16 is mixed with float16. Under LoRA the frozen base is in 16 bits unless it is
    fp32, with mixed the states between its layers are float32, and adapters always are. rows: of `sequence_length`
    tokens, in an optimizer step, over all devices. rank: of LoRA, on all linear layers. trained_layers: of freeze,
    counted from the top. trained_share: of positions that carry loss. attention: packed is ours (groups are expanded),
    eager keeps the score matrix. head: chunked is ours (trained positions only, never all logits at once), whole is
    transformers'. tokens: to train on in all, None if not known.
    """

    shape: Shape
    method: Method = "full"
    precision: Precision = "mixed"
    sequence_length: int = 2048
    rows: int = 16
    rank: int = 16
    trained_layers: int = 2
    trained_share: float = 1.0
    optimizer: Optimizer = "adamw"
    attention: Attention = "packed"
    head: Head = "chunked"
    tokens: int | None = None

    def __post_init__(self) -> None:
        """Refuse what no training has. Raises Mistake."""
        for name, kinds in _KINDS.items():
            if (value := getattr(self, name)) not in kinds:
                raise Mistake(f"{name} '{value}' is not known", hint=f"one of {', '.join(kinds)}")
        for name in ("sequence_length", "rows", "rank", "trained_layers"):
            if getattr(self, name) < 1:
                raise Mistake(f"{name} must be at least 1", found=str(getattr(self, name)))

    @property
    def layers_trained(self) -> int:
        """Layers through which the backward pass goes."""
        return min(self.trained_layers, self.shape.layers) if self.method == "freeze" else self.shape.layers

    @property
    def trained_parameters(self) -> int:
        """Weights that have a gradient."""
        shape = self.shape
        if self.method == "full":
            return shape.parameters
        if self.method == "freeze":
            return self.layers_trained * shape.layer_parameters
        return self.rank * shape.layers * adapter_width(shape)

    @property
    def tokens_per_step(self) -> int:
        """Tokens of an optimizer step."""
        return self.rows * self.sequence_length


_KINDS = {
    "method": get_args(Method),
    "precision": get_args(Precision),
    "optimizer": get_args(Optimizer),
    "attention": get_args(Attention),
    "head": get_args(Head),
}


def adapter_width(shape: Shape) -> int:
    """Return the weights of LoRA of rank 1 on all linear layers of one layer: in + out of each matrix."""
    attention = 2 * (shape.width + shape.queries) + 2 * (shape.width + shape.keys)
    inner = shape.experts * shape.inner + shape.shared_inner
    experts = shape.experts + (1 if shape.shared_inner else 0)
    return attention + shape.matrices * (experts * shape.width + inner)


@dataclass(frozen=True)
class Layout:
    """How a job lies on the devices: data x context x tensor x pipeline of them.

    micro_batch: rows of one forward pass on one device. optimizer_at, parameters_at: where they rest between uses.
    replicas: copies of the cut states; more than one is HSDP, each copy in a node of its own. all_read: of ZeRO-3,
    every process reads the whole weights, because accelerate was not told to cut them as they are read.
    """

    micro_batch: int = 1
    checkpointing: Checkpointing = "none"
    sharding: Sharding = "none"
    optimizer_at: Place = "device"
    parameters_at: Place = "device"
    data: int = 1
    tensor: int = 1
    pipeline: int = 1
    context: int = 1
    replicas: int = 1
    all_read: bool = False

    @property
    def narrow(self) -> bool:
        """Whether the layers hold 16-bit copies of cut weights: then states between layers are in 16 bits too."""
        return self.sharding in ("zero-1", "zero-2", "zero-3", "fsdp2", "megatron")

    @property
    def devices(self) -> int:
        """Devices in all."""
        return self.data * self.tensor * self.pipeline * self.context

    @property
    def shards(self) -> int:
        """Devices over which the sharded states are cut: FSDP2 cuts them over the context group too."""
        return self.data * self.context // self.replicas

    def accumulation(self, job: Job) -> int:
        """Forward passes of an optimizer step, on each device."""
        return max(1, -(-job.rows // (self.data * self.micro_batch)))

    @property
    def name(self) -> str:
        """The layout in a few words, as in a table."""
        words = {
            "none": "one process",
            "ddp": "data parallel",
            "zero-1": "ZeRO-1",
            "zero-2": "ZeRO-2",
            "zero-3": "ZeRO-3",
            "fsdp2": "FSDP2",
            "megatron": "Megatron",
        }[self.sharding]
        if self.replicas > 1:
            words = "HSDP"
        if self.parameters_at != "device":
            words += f", all on {self.parameters_at}"
        elif self.optimizer_at != "device":
            words += f", optimizer on {self.optimizer_at}"
        parallel = {"tensor": self.tensor, "pipeline": self.pipeline, "context": self.context}
        return words + "".join(f", {kind} {size}" for kind, size in parallel.items() if size > 1)

    @property
    def short(self) -> str:
        """The name as it stands in a narrow table: tp, pp and cp are tensor, pipeline and context parallel."""
        words = self.name
        for long, short in _SHORT:
            words = words.replace(long, short)
        return words


_SHORT = (
    ("optimizer on", "optim"),
    ("all on", "all"),
    (", tensor ", " tp"),
    (", pipeline ", " pp"),
    (", context ", " cp"),
)


class Memory(NamedTuple):
    """Bytes of one device, each part at its own largest; `peak` is the largest sum at one moment.

    working: what comes and goes within one layer's backward pass, and the layers that are gathered. overhead: the
    program itself, communication buffers, fragments. host, nvme: bytes of one node beside the devices, while it trains.
    loading, saving: bytes of a node's memory while weights are read, and while the result is put together.
    """

    parameters: int
    gradients: int
    optimizer: int
    activations: int
    logits: int
    working: int
    overhead: int
    peak: int
    host: int = 0
    nvme: int = 0
    loading: int = 0
    saving: int = 0

    @property
    def node(self) -> int:
        """Bytes of a node's memory without which it does not train: what rests there, or what weights pass through."""
        return max(self.host, self.loading)
