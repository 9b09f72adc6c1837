"""The shape of a model, from its config.json or its name: what memory and time are worked out from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from metier.core import Mistake


class Shape(NamedTuple):
    """A decoder-only transformer. Widths are in numbers, not bytes.

    heads, groups: heads of queries, and of keys and values (fewer with grouped-query attention). head: width of one.
    inner: width of the MLP, of one expert where there are several. matrices: 3 in a gated MLP, 2 in a plain one.
    experts, active: experts of a layer, and those a token goes through; 1 and 1 in a dense model.
    shared_inner: width of the MLP that every token goes through beside the experts.
    positions: learned position vectors, as in GPT-2 and GPT-3; 0 with rotary ones.
    """

    name: str
    layers: int
    width: int
    inner: int
    heads: int
    groups: int
    head: int
    vocabulary: int
    tied: bool = False
    matrices: int = 3
    experts: int = 1
    active: int = 1
    shared_inner: int = 0
    positions: int = 0

    @property
    def queries(self) -> int:
        """Width of all heads of queries together."""
        return self.heads * self.head

    @property
    def keys(self) -> int:
        """Width of all heads of keys together, and of values."""
        return self.groups * self.head

    @property
    def attention_parameters(self) -> int:
        """Weights of the four projections of one layer."""
        return 2 * self.width * (self.queries + self.keys)

    @property
    def layer_parameters(self) -> int:
        """Weights of one layer: attention, every expert, the router, two norms."""
        router = self.width * self.experts if self.experts > 1 else 0
        mlp = self.matrices * self.width * (self.experts * self.inner + self.shared_inner)
        return self.attention_parameters + mlp + router + 2 * self.width

    @property
    def embedding_parameters(self) -> int:
        """Weights of the token table, and of the head where it is a table of its own."""
        return self.vocabulary * self.width * (1 if self.tied else 2) + self.positions * self.width

    @property
    def parameters(self) -> int:
        """All weights."""
        return self.layers * self.layer_parameters + self.embedding_parameters + self.width

    @property
    def active_inner(self) -> int:
        """Width of all MLPs that one token goes through."""
        return self.active * self.inner + self.shared_inner

    @property
    def matrix_parameters(self) -> int:
        """Weights that one token is multiplied with, the head included: the N of "6N operations a token"."""
        layer = self.attention_parameters + self.matrices * self.width * self.active_inner
        return self.layers * layer + self.vocabulary * self.width


_KNOWN = {
    # name: layers, width, inner, heads, groups, head, vocabulary, tied. From each model's published config.json.
    "smollm2-135m": (30, 576, 1536, 9, 3, 64, 49152, True),
    "smollm2-360m": (32, 960, 2560, 15, 5, 64, 49152, True),
    "qwen2.5-0.5b": (24, 896, 4864, 14, 2, 64, 151936, True),
    "tinyllama-1.1b": (22, 2048, 5632, 32, 4, 64, 32000, False),
    "llama-3.2-1b": (16, 2048, 8192, 32, 8, 64, 128256, True),
    "qwen2.5-1.5b": (28, 1536, 8960, 12, 2, 128, 151936, True),
    "smollm2-1.7b": (24, 2048, 8192, 32, 32, 64, 49152, True),
    "llama-3.2-3b": (28, 3072, 8192, 24, 8, 128, 128256, True),
    "qwen2.5-7b": (28, 3584, 18944, 28, 4, 128, 152064, False),
    "mistral-7b": (32, 4096, 14336, 32, 8, 128, 32000, False),
    "llama-2-7b": (32, 4096, 11008, 32, 32, 128, 32000, False),
    "llama-3.1-8b": (32, 4096, 14336, 32, 8, 128, 128256, False),
    "qwen3-8b": (36, 4096, 12288, 32, 8, 128, 151936, False),
    "llama-2-13b": (40, 5120, 13824, 40, 40, 128, 32000, False),
    "qwen2.5-14b": (48, 5120, 13824, 40, 8, 128, 152064, False),
    "qwen2.5-32b": (64, 5120, 27648, 40, 8, 128, 152064, False),
    "llama-33b": (60, 6656, 17920, 52, 52, 128, 32000, False),
    "llama-65b": (80, 8192, 22016, 64, 64, 128, 32000, False),
    "llama-3.1-70b": (80, 8192, 28672, 64, 8, 128, 128256, False),
    "qwen2.5-72b": (80, 8192, 29568, 64, 8, 128, 152064, False),
    "llama-3.1-405b": (126, 16384, 53248, 128, 8, 128, 128256, False),
}
_EXPERTS = {
    # and: experts, active, shared_inner
    "mixtral-8x7b": (32, 4096, 14336, 32, 8, 128, 32000, False, 3, 8, 2, 0),
    "mixtral-8x22b": (56, 6144, 16384, 48, 8, 128, 32768, False, 3, 8, 2, 0),
    "qwen3-30b-a3b": (48, 2048, 768, 32, 4, 128, 151936, False, 3, 128, 8, 0),
    "qwen3-235b-a22b": (94, 4096, 1536, 64, 4, 128, 151936, False, 3, 128, 8, 0),
}
_GPT = {
    # GPT-3's family: a plain MLP of four widths, learned positions, no groups (Brown et al. 2020; Korthikanti 2022).
    "gpt-22b": (48, 6144, 24576, 64, 64, 96, 51200, True, 2, 1, 1, 0, 2048),
    "gpt3-175b": (96, 12288, 49152, 96, 96, 128, 51200, True, 2, 1, 1, 0, 2048),
    "mt-nlg-530b": (105, 20480, 81920, 128, 128, 160, 51200, True, 2, 1, 1, 0, 2048),
    "gpt-1t": (128, 25600, 102400, 160, 160, 160, 51200, True, 2, 1, 1, 0, 2048),
}
SHAPES: Mapping[str, Shape] = {
    name: Shape(name, *numbers) for table in (_KNOWN, _EXPERTS, _GPT) for name, numbers in table.items()
}
"""Models whose shape is known by name."""

_SIZES = {
    "135m": "smollm2-135m",
    "360m": "smollm2-360m",
    "0.5b": "qwen2.5-0.5b",
    "1b": "llama-3.2-1b",
    "1.5b": "qwen2.5-1.5b",
    "1.7b": "smollm2-1.7b",
    "3b": "llama-3.2-3b",
    "7b": "qwen2.5-7b",
    "8b": "llama-3.1-8b",
    "13b": "llama-2-13b",
    "14b": "qwen2.5-14b",
    "32b": "qwen2.5-32b",
    "33b": "llama-33b",
    "65b": "llama-65b",
    "70b": "llama-3.1-70b",
    "72b": "qwen2.5-72b",
    "405b": "llama-3.1-405b",
    "8x7b": "mixtral-8x7b",
    "8x22b": "mixtral-8x22b",
    "175b": "gpt3-175b",
    "530b": "mt-nlg-530b",
}
"""What a bare size stands for: the best known model of that size."""


_TIED = ("gemma", "cohere", "falcon")
"""Families whose embeddings are tied where config.json does not say it: transformers leaves out what is its default."""


_OPTIONAL = (
    "num_key_value_heads",
    "head_dim",
    "num_local_experts",
    "num_experts",
    "n_routed_experts",
    "num_experts_per_tok",
    "moe_intermediate_size",
    "shared_expert_intermediate_size",
    "n_shared_experts",
    "n_positions",
    "n_inner",
)
_LARGEST = 10 << 20  # bytes of a config.json


def shape_of(config: Mapping[str, Any], name: str = "") -> Shape:
    """Return the shape that a model's config.json tells of.

    Raises:
        Mistake: a number is missing, naming it.
    """
    if not isinstance(config, Mapping):
        raise Mistake(
            "the model's config.json is no object", found=type(config).__name__, hint="give a model folder of its own"
        )
    inner_config = config.get("text_config")
    config = {**config, **(inner_config if isinstance(inner_config, Mapping) else {})}
    wanted = ("num_hidden_layers", "hidden_size", "num_attention_heads", "vocab_size", "intermediate_size")
    old = {"num_hidden_layers": "n_layer", "hidden_size": "n_embd", "num_attention_heads": "n_head"}  # GPT-2
    found = {key: config.get(key, config.get(old.get(key, ""))) for key in wanted}
    if found["intermediate_size"] is None and found["hidden_size"] and "n_embd" in config:
        found["intermediate_size"] = config.get("n_inner") or 4 * found["hidden_size"]
    missing = [key for key, value in found.items() if not isinstance(value, int) or value < 1]
    if missing:
        raise Mistake(
            f"the model's config.json does not say {', '.join(missing)}",
            found=", ".join(sorted(config)[:12]) or "nothing",
            hint="give the config.json of a decoder-only language model, or a size such as 7B",
        )
    odd = [key for key in _OPTIONAL if not isinstance(config.get(key, 0) or 0, int)]
    if odd:
        raise Mistake(
            f"{', '.join(odd)} in the model's config.json is no number",
            found=", ".join(repr(config[key]) for key in odd),
            hint="write whole numbers there, as in the model's published config.json",
        )
    layers, width, heads, vocabulary, inner = (int(value or 0) for value in found.values())
    experts = config.get("num_local_experts") or config.get("num_experts") or config.get("n_routed_experts") or 1
    expert = config.get("moe_intermediate_size") or inner
    shared = config.get("shared_expert_intermediate_size") or (config.get("n_shared_experts") or 0) * expert
    plain = "n_embd" in config or config.get("model_type") in ("gpt_neox", "opt", "bloom", "phi", "starcoder2")
    return Shape(
        name or config.get("_name_or_path") or config.get("model_type") or "model",
        layers,
        width,
        expert if experts > 1 else inner,
        heads,
        config.get("num_key_value_heads") or heads,
        config.get("head_dim") or width // heads,
        vocabulary,
        bool(config.get("tie_word_embeddings", "n_embd" in config or str(config.get("model_type")).startswith(_TIED))),
        2 if plain else 3,
        experts,
        (config.get("num_experts_per_tok") or 1) if experts > 1 else 1,
        shared if experts > 1 else 0,
        config.get("n_positions", 0) if "n_embd" in config else 0,
    )


def find_shape(wanted: str | Path) -> Shape:
    """Return the shape of a model folder, of a config.json, of a known model, or of a size such as 7B or 8B-llama.

    Raises:
        Mistake: it is none of these, with the nearest names.
    """
    path = Path(wanted)
    for file in (path / "config.json", path / "model" / "config.json", path):
        if file.is_file():
            if file.stat().st_size > _LARGEST:
                raise Mistake(f"{file} is no config.json", found="a large file", hint="give the folder of the model")
            try:
                return shape_of(json.loads(file.read_text()), path.name)
            except (ValueError, UnicodeDecodeError) as error:
                raise Mistake(f"{file} is not JSON", found=str(error), hint="give a model folder") from error
    name = str(wanted).lower()
    size, _, family = name.partition("-")
    of_size = [known for known in SHAPES if family and known.startswith(family) and known.endswith(size)]
    if chosen := SHAPES.get(name) or SHAPES.get(_SIZES.get(name, "")) or (SHAPES[of_size[-1]] if of_size else None):
        return chosen
    import difflib

    near = difflib.get_close_matches(name, [*SHAPES, *_SIZES], n=3, cutoff=0.4)
    raise Mistake(
        f"'{wanted}' is no model folder and no known shape",
        found=f"near: {', '.join(near)}" if near else None,
        hint=f"a folder with config.json, a size ({', '.join(_SIZES)}) or a name ({', '.join(list(SHAPES)[:6])} …)",
    )
