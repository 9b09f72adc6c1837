"""Make a loaded model ready for its method: which weights are trained, and in which number format the others lie."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from metier.core import Host, Mistake
from metier.train.distributed import layout
from metier.train.network import bf16_pays, load_network, load_plain
from metier.train.options import Lora, Precision, Settings

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


def precision_on(host: Host, wish: Precision) -> str:
    """Return the number format of matrix products: "bf16", "fp16" or "fp32".

    Raises:
        Mistake: fp16 is asked for where there is no GPU.
    """
    if wish == "auto":
        return "bf16" if bf16_pays(host) else "fp32"
    if wish == "fp16" and not (host.gpus and torch.cuda.is_available()):
        raise Mistake(
            "fp16 is trained on GPUs only", found="no GPU here", hint="precision: auto takes what is fast here"
        )
    return wish


def network_for(base: Path, settings: Settings, host: Host) -> Any:
    """Return the model in `base`, ready to be trained by `settings.method` on packed windows.

    full, freeze: all weights in float32. lora: the frozen base in the precision of the matrix products, the adapter in
    float32. qlora: the base's matrices in NF4 with double quantisation, embeddings and norms in float32.

    Raises:
        Mistake: the model cannot be trained so.
    """
    precision = precision_on(host, settings.precision)
    if settings.method == "qlora":
        network = load_network(base, quantization=_four_bit(precision))
    else:
        network = load_network(base, _DTYPES[precision] if settings.method == "lora" else torch.float32)
    if settings.dropout:
        _set_dropout(network, settings.dropout)
    if settings.method == "freeze":
        train_last_layers(network, settings.trained_layers)
    if settings.adapter:
        network.requires_grad_(False)
        # The stream between layers stays in float32, whatever the frozen weights lie in. Not so under ZeRO: DeepSpeed
        # computes in 16 bits without autocast, which alone lets the two formats meet.
        if not layout().startswith("zero"):
            network.get_input_embeddings().register_forward_hook(lambda _module, _inputs, states: states.float())
        network = with_adapter(network, settings.lora, settings.seed)
    if settings.compile is True:
        compile_layers(network)
    return network


def plain_network_for(base: Path, settings: Settings, host: Host) -> Any:
    """Return the model in `base` for a trainer that batches and generates by itself, with transformers' own forward.

    Raises:
        Mistake: the model cannot be trained so.
    """
    precision = precision_on(host, settings.precision)
    quantization = _four_bit(precision) if settings.method == "qlora" else None
    network = load_plain(base, _DTYPES[precision] if settings.method == "lora" else torch.float32, "sdpa", quantization)
    if settings.dropout:
        _set_dropout(network, settings.dropout)
    if settings.method == "freeze":
        train_last_layers(network, settings.trained_layers)
    if settings.adapter:
        network.requires_grad_(False)
        network = with_adapter(network, settings.lora, settings.seed)
    return network


def with_adapter(network: Any, lora: Lora, seed: int) -> Any:
    """Return `network` in a PEFT model with a new adapter, whose output is 0 until it is trained.

    Raises:
        Mistake: the names in `lora.targets` are not those of the model's layers.
    """
    import peft

    config = peft.LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=lora.targets if isinstance(lora.targets, str) else list(lora.targets),
        use_rslora=lora.rslora,
        use_dora=lora.dora,
        bias="none",
        task_type="CAUSAL_LM",
    )
    torch.manual_seed(seed)
    try:
        return peft.get_peft_model(network, config)
    except ValueError as error:
        linear = {
            name.rpartition(".")[2] for name, part in network.named_modules() if isinstance(part, torch.nn.Linear)
        }
        raise Mistake(
            "no layer of the model has the names in lora.targets",
            found=f"{', '.join(lora.targets)}; the model's linear layers: {', '.join(sorted(linear))}",
            hint="choose among these, or leave it at all-linear",
        ) from error


def train_last_layers(network: Any, count: int) -> None:
    """Let only the last `count` transformer blocks be trained; embeddings, head and norms outside them stay.

    Raises:
        Mistake: the model has not so many.
    """
    layers = blocks_of(network)
    if count >= len(layers):
        raise Mistake(
            f"`freeze` cannot train {count} of {len(layers)} layers",
            found=f"trained_layers: {count}",
            hint="lower it, or set method: full",
        )
    network.requires_grad_(False)
    for layer in layers[-count:]:
        layer.requires_grad_(True)


def blocks_of(network: Any) -> torch.nn.ModuleList:
    """Return the transformer blocks of a model: its longest list of modules. Raises Mistake if it has none."""
    lists = [part for part in network.modules() if isinstance(part, torch.nn.ModuleList)]
    if not lists:
        raise Mistake("the model has no list of layers", hint="set method: full or lora")
    return max(lists, key=len)


def compile_layers(network: Any) -> None:
    """Compile what lies between the attentions: MLPs and norms, for any length of a window."""
    for part in _between_attentions(network):
        part.compile(dynamic=True)


def uncompile_layers(network: Any) -> None:
    """Undo `compile_layers`."""
    for part in _between_attentions(network):
        part._compiled_call_impl = None


def _between_attentions(network: Any) -> Iterator[torch.nn.Module]:
    for layer in blocks_of(network):
        for name, part in layer.named_children():
            if "attn" not in name and "attention" not in name:
                yield part


def _set_dropout(network: Any, share: float) -> None:
    config = network.config.get_text_config()
    if not hasattr(config, "attention_dropout"):
        raise Mistake(
            f"{config.model_type} models have no attention dropout",
            found=f"dropout: {share}",
            hint="use lora.dropout, weight_decay or neftune_noise_alpha against overfitting",
        )
    for part in network.modules():
        if hasattr(part, "attention_dropout"):
            part.attention_dropout = share


def _four_bit(precision: str) -> Any:
    import transformers

    if importlib.util.find_spec("bitsandbytes") is None:
        raise Mistake(
            "qlora needs bitsandbytes, which is not installed",
            hint="pip install 'metier[qlora]', or set method: lora",
        )
    return transformers.BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=_DTYPES[precision],
    )
