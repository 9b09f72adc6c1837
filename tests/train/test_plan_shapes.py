"""What the planner counts against what transformers and autograd really have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import transformers
from pytest import approx

from metier.train.plan import Job, Layout, shape_of
from metier.train.plan.activations import checkpoint_bytes, layer_bytes
from metier.train.plan.job import adapter_width

TINY = {
    "hidden_size": 96,
    "intermediate_size": 160,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 500,
}
FAMILIES = {
    "llama": TINY,
    "tied": TINY | {"tie_word_embeddings": True},
    "wide heads": TINY | {"head_dim": 48},
    "mistral": TINY,
    "qwen3": TINY | {"head_dim": 24},
    "mixtral": TINY | {"num_local_experts": 4, "num_experts_per_tok": 2},
    "qwen3_moe": TINY | {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 64, "head_dim": 24},
    "gpt2": {"n_layer": 3, "n_embd": 96, "n_head": 4, "n_positions": 64, "vocab_size": 500},
}


@pytest.mark.parametrize("family", FAMILIES)
def test_parameters_are_those_of_the_model(family: str) -> None:
    kind = {"tied": "llama", "wide heads": "llama"}.get(family, family)
    config = transformers.AutoConfig.for_model(kind, **FAMILIES[family])
    with torch.device("meta"):
        network = transformers.AutoModelForCausalLM.from_config(config)
    # Biases, and norms within the attention, are left out: a thousandth of a model of ordinary width.
    large = sum(parameter.numel() for parameter in network.parameters() if parameter.dim() > 1)
    shape = shape_of(config.to_dict())
    norms = (2 * shape.layers + 1) * shape.width
    assert shape.parameters - norms == large


def llama(layers: int, dtype: torch.dtype, rank: int | None, again: bool, narrow: bool = False) -> Any:
    config = transformers.LlamaConfig(**{**TINY, "num_hidden_layers": layers}, attn_implementation="sdpa")
    network: Any = transformers.LlamaForCausalLM(config).to(dtype)
    if rank:
        import peft

        network = peft.get_peft_model(network, peft.LoraConfig(r=rank, target_modules="all-linear"))
        network = network.to(dtype) if narrow else network
    if again:
        network.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        network.enable_input_require_grads()
    return network.train()


def kept_bytes(network: Any, forward: Callable[[], Any]) -> int:
    """Return the bytes of all storages that autograd keeps for the way back, weights apart."""
    weights = {parameter.untyped_storage().data_ptr() for parameter in network.parameters()}
    kept: dict[int, tuple[int, torch.Tensor]] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes(), tensor  # held, so that no address is used twice
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        forward()
    return sum(size for size, _ in kept.values())


@pytest.mark.parametrize(
    ("method", "precision"),
    [("full", "fp32"), ("full", "mixed"), ("full", "bf16"), ("lora", "fp32"), ("lora", "bf16")],
)
@pytest.mark.parametrize("again", [False, True])
def test_activations_of_a_layer_are_those_that_autograd_keeps(method: str, precision: str, again: bool) -> None:
    rank = 8 if method == "lora" else None
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32

    def kept(layers: int, tokens: int) -> int:
        ids = torch.zeros((1, tokens), dtype=torch.long)
        network = llama(layers, dtype, rank, again)
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "mixed"):
            return kept_bytes(network, lambda: network(input_ids=ids).logits)

    # Of one layer, and of what grows with the tokens: autocast's copies of the weights do not.
    measured = (kept(3, 128) - kept(2, 128)) - (kept(3, 64) - kept(2, 64))
    job = Job(shape_of(TINY), method, precision, rank=8, attention="sdpa")  # type: ignore[arg-type]
    counted = checkpoint_bytes(job, Layout(), 64) if again else layer_bytes(job, Layout(), 64)
    assert counted == approx(measured, rel=1e-6)


def test_adapters_in_16_bits_keep_what_deepspeed_and_fsdp2_compute_with() -> None:
    def kept(layers: int, tokens: int) -> int:
        ids = torch.zeros((1, tokens), dtype=torch.long)
        network = llama(layers, torch.bfloat16, 8, False, narrow=True)
        return kept_bytes(network, lambda: network(input_ids=ids).logits)

    measured = (kept(3, 128) - kept(2, 128)) - (kept(3, 64) - kept(2, 64))
    job = Job(shape_of(TINY), "lora", "mixed", rank=8, attention="sdpa")
    for sharding in ("zero-3", "fsdp2"):
        assert layer_bytes(job, Layout(sharding=sharding, data=2), 64) == measured


def test_adapters_have_the_parameters_that_peft_makes() -> None:
    network = llama(3, torch.float32, 8, False)
    made = sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
    assert made == 8 * 3 * adapter_width(shape_of(TINY)) == Job(shape_of(TINY), "lora", rank=8).trained_parameters
