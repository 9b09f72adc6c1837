"""What `benchmarks.train.gpu` measures: cases, rows of random tokens, and operations from shapes. Without torch."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from metier.core import Host
from metier.train.memory import pass_tokens, plan_of
from metier.train.options import Settings
from metier.train.packing import Group, Row, Window, windows_of
from metier.train.plan import Memory, Shape
from metier.train.plan.job import adapter_width
from metier.train.schedule import Schedule, schedule
from metier.train.watch.options import Watch

BATCH_ROWS, LONGEST, STEPS, WARM = 64, 1024, 8, 3
"""Of a speed case: rows of an optimizer step, tokens of the longest row, steps, and how many of them do not count."""

MEMORY_STEPS = 3
ANSWER = 0.75
"""Share of a row's tokens that is trained, as in alpaca's rows."""

_MEDIAN, _SPREAD, _SHORTEST = 350, 0.8, 32  # of the lengths of rows, log-normal

_1B = Shape("1B", 16, 2048, 8192, 32, 8, 64, 128256, tied=True)
_3B = Shape("3B", 28, 3072, 8192, 24, 8, 128, 128256, tied=True)
_8B = Shape("8B", 32, 4096, 14336, 32, 8, 128, 128256)


class Case(NamedTuple):
    """One training on one GPU, on random weights and random tokens.

    engine: "ours" is the house's trainer without load, rehearsal and save; "trl" and "unsloth" are the peers'.
    arguments: of a peer what differs from its defaults; of ours, fields of `Settings`. words: the same, to be read.
    rows, length, passes: of a memory case the rows of a forward pass, their tokens, and passes of an optimizer step; a
    speed case has rows of many lengths.
    """

    kind: Literal["memory", "speed"]
    engine: Literal["ours", "trl", "unsloth"]
    shape: Shape
    method: Literal["full", "lora", "qlora"]
    arguments: dict[str, Any]
    words: str = ""
    rows: int = 0
    length: int = 0
    passes: int = 1

    @property
    def name(self) -> str:
        """What is measured, in a few words."""
        if self.kind == "speed":
            return f"speed {self.shape.name} {self.method} {self.engine}{', ' * bool(self.words)}{self.words}"
        words = ["memory", self.shape.name, self.method, f"{self.rows}x{self.length}"]
        words += ["checkpointing"] * bool(self.arguments.get("gradient_checkpointing"))
        words += [f"{self.passes} passes"] * (self.passes > 1)
        words += [self.arguments["optimizer"]] if "optimizer" in self.arguments else []
        return " ".join(words)

    @property
    def settings(self) -> Settings:
        """What our trainer is told."""
        return Settings(
            learning_rate=1e-5,
            warmup=0.0,
            weight_decay=0.0,
            seed=0,
            method=self.method,
            scheduler="constant",
            watch=Watch(looks=0),
            **(self.arguments if self.engine == "ours" else {}),
        )

    @property
    def config(self) -> dict[str, Any]:
        """The model's config.json: a Llama of the case's shape."""
        shape = self.shape
        return {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "vocab_size": shape.vocabulary,
            "hidden_size": shape.width,
            "intermediate_size": shape.inner,
            "num_hidden_layers": shape.layers,
            "num_attention_heads": shape.heads,
            "num_key_value_heads": shape.groups,
            "head_dim": shape.head,
            "max_position_embeddings": 8192,
            "tie_word_embeddings": shape.tied,
            "bos_token_id": 0,
            "eos_token_id": 0,
        }


def case_of(told: Mapping[str, Any]) -> Case:
    """Return the case that `Case._asdict` was written of, as JSON."""
    return Case(**{**told, "shape": Shape(*told["shape"])})


def _memory(shape: Shape, method: Any, rows: int, length: int, passes: int = 1, **arguments: Any) -> Case:
    return Case("memory", "ours", shape, method, arguments, "", rows, length, passes)


_CHECKPOINTING = {"gradient_checkpointing": True}
MEMORY = (
    _memory(_1B, "full", 2, 2048),
    _memory(_1B, "full", 2, 2048, passes=2),
    _memory(_1B, "full", 4, 4096, **_CHECKPOINTING),
    _memory(_1B, "lora", 4, 2048),
    _memory(_1B, "lora", 8, 512, passes=2),
    _memory(_1B, "qlora", 4, 2048),
    _memory(_3B, "full", 1, 2048),
    _memory(_3B, "full", 4, 2048, passes=2, **_CHECKPOINTING),
    _memory(_3B, "lora", 2, 4096),
    _memory(_3B, "lora", 4, 4096, **_CHECKPOINTING),
    _memory(_3B, "qlora", 4, 2048, **_CHECKPOINTING),
    _memory(_8B, "lora", 2, 2048),
    _memory(_8B, "lora", 4, 4096, **_CHECKPOINTING),
    _memory(_8B, "qlora", 2, 2048),
    _memory(_8B, "qlora", 4, 4096, **_CHECKPOINTING),
    _memory(_8B, "full", 1, 2048, optimizer="adafactor", **_CHECKPOINTING),
)
"""All but the last fit 80 GB by the plan; that one needs an H200 or a B200."""

_PADDED = {"per_device_train_batch_size": 8, "gradient_accumulation_steps": BATCH_ROWS // 8}
# 28 windows of 1024 tokens are about as much as 64 rows.
_PACKED = {
    "packing": True,
    "gradient_checkpointing": False,
    "per_device_train_batch_size": 4,
    "gradient_accumulation_steps": 7,
}
SPEED = (
    Case("speed", "ours", _8B, "lora", {}),
    Case("speed", "trl", _8B, "lora", _PADDED, "defaults"),
    Case("speed", "unsloth", _8B, "lora", _PADDED, "defaults"),
    Case("speed", "ours", _3B, "full", {}),
    Case("speed", "trl", _3B, "full", _PADDED, "defaults"),
    Case("speed", "unsloth", _3B, "full", _PADDED, "defaults"),
    Case("speed", "ours", _8B, "lora", {"compile": True}, "compiled"),
    Case("speed", "ours", _3B, "full", {"compile": True}, "compiled"),
    Case("speed", "trl", _8B, "lora", _PACKED, "packed, no checkpointing"),
    Case("speed", "unsloth", _8B, "lora", _PACKED, "packed, no checkpointing"),
)
"""The first of a shape and method is ours by default: what the others are held against."""

CASES = (*MEMORY, *SPEED)


def lengths(count: int, seed: int = 0) -> list[int]:
    """Return lengths of rows in tokens, spread as those of instruction data: log-normal, cut at `LONGEST`."""
    rng = random.Random(seed)
    drawn = (round(_MEDIAN * math.exp(_SPREAD * rng.gauss(0, 1))) for _ in range(count))
    return [min(LONGEST, max(_SHORTEST, length)) for length in drawn]


class Size(NamedTuple):
    """Tokens of a row, and how many of them are trained; the first is predicted from nothing, and never is."""

    tokens: int
    trained: int


def sizes_of(case: Case) -> list[Size]:
    """Return the sizes of the rows of all optimizer steps of a case."""
    if case.kind == "memory":
        return [Size(case.length, case.length - 1)] * (case.rows * case.passes * MEMORY_STEPS)
    return [Size(length, max(1, round(ANSWER * length))) for length in lengths(BATCH_ROWS * STEPS)]


def rows_of(case: Case) -> list[Row]:
    """Return the rows of all optimizer steps of a case: random tokens, of which the last are trained."""
    rng, made = random.Random(1), []
    for at, (length, trained) in enumerate(sizes_of(case)):
        ids = [rng.randrange(3, case.shape.vocabulary) for _ in range(length)]
        made.append(Row(f"r{at}", ids, [False] * (length - trained) + [True] * trained))
    return made


def schedule_of(case: Case, host: Host) -> Schedule:
    """Return what our trainer is given: windows as `Sft` lays them, in a speed case as large as the plan chooses."""
    groups = [Group((row,), 0) for row in rows_of(case)]
    if case.kind == "memory":
        windows: list[Window] = []
        for start in range(0, len(groups), case.rows):
            windows += windows_of(groups[start : start + case.rows], 1)
        return Schedule(windows, case.passes)
    batches = [groups[start : start + BATCH_ROWS] for start in range(0, len(groups), BATCH_ROWS)]
    batch = sum(group.tokens for group in groups) // len(batches)
    window = pass_tokens(case.config, host, LONGEST, case.settings, batch)
    return schedule([batches], window)


def predicted(case: Case, host: Host) -> Memory:
    """Return what the planner says of a memory case, as the rehearsal asks it."""
    window = case.rows * case.length
    return plan_of(
        case.config,
        host,
        window=window,
        trained=window - case.rows,  # the first token of a row is predicted from nothing
        longest=case.length,
        training=case.settings,
        accumulate=case.passes,
        here=True,
    ).memory


def allocated(memory: Memory) -> int:
    """Return what of a plan torch's allocator hands out: the driver's share and the holes between blocks are no part.

    It is what `torch.cuda.max_memory_allocated` measures.
    """
    return memory.peak - memory.overhead


def operations(shape: Shape, method: str, sizes: Sequence[Size], rank: int = 16) -> float:
    """Return the operations that training on rows of these sizes needs, in all.

    Chowdhery et al. 2022 ("PaLM"), appendix B: 6N a token for all weights and attention beside it, what is computed
    twice under checkpointing not counted. Stricter in three ways, so that nothing is counted that nobody has to do:
    a frozen weight has no gradient (4N under LoRA, and 6 for each weight of the adapter), the head is multiplied at
    trained positions only, and attention is causal, which halves it. N is every weight in a matrix product; embeddings
    are looked up.
    """
    tokens, trained = (sum(size[part] for size in sizes) for part in (0, 1))
    head = shape.vocabulary * shape.width
    layers = shape.matrix_parameters - head
    squares = sum(size.tokens**2 for size in sizes)
    times = 6.0 if method == "full" else 4.0
    adapter = 0.0 if method == "full" else 6.0 * rank * shape.layers * adapter_width(shape) * tokens
    # Scores and values are 2 T² each for a unit of width forward, twice that backward; half of it is masked.
    attention = 6.0 * squares * shape.queries * shape.layers
    return times * (layers * tokens + head * trained) + adapter + attention


def timed(case: Case) -> list[Size]:
    """Return the sizes of the rows of a speed case's steps that count, `BATCH_ROWS` a step."""
    return sizes_of(case)[WARM * BATCH_ROWS :]


def rate(tokens: Sequence[int], ends: Sequence[float]) -> float:
    """Return tokens a second over the steps that count.

    Args:
        tokens: of each step, padding left out.
        ends: seconds at which each step ended.
    """
    return sum(tokens[WARM:]) / (ends[-1] - ends[WARM - 1])
