"""Load a model for training: packed attention, the answers-only head, the device and the number format."""

from __future__ import annotations

import logging
from pathlib import Path
from types import MethodType
from typing import Any

import torch

from metier.core import Host, Mistake
from metier.core.pretrained import load_pretrained
from metier.train.attention import prepared, register
from metier.train.base import check_finite, load_whole
from metier.train.loss import token_log_probabilities
from metier.train.packing import NOT_TRAINED

# On a CPU bitsandbytes asks for a package of kernels when it is imported, and does without.
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)

# Heads with one of these in their configuration change the logits after the matrix product.
_SCALED_HEADS = ("final_logit_softcapping", "logit_scale", "logits_scaling", "lm_head_multiplier", "output_multiplier")


def load_tokenizer(folder: Path) -> Any:
    """Return the tokenizer of a model folder. Raises Mistake if there is none."""
    from transformers import AutoTokenizer

    try:
        return load_pretrained(AutoTokenizer, folder)
    except (OSError, ValueError, KeyError) as error:
        raise Mistake(
            "the base model has no tokenizer that can be read",
            found=str(error).splitlines()[0] if str(error) else type(error).__name__,
            hint=f"put tokenizer.json and tokenizer_config.json into {folder}",
        ) from error


def load_network(folder: Path, dtype: torch.dtype = torch.float32, quantization: Any = None) -> Any:
    """Return the model, in float32 unless told otherwise, ready for packed windows.

    Weights stay in float32 and matrix products run in bf16 under autocast: a small learning rate moves a weight by less
    than half a bf16 step, and would be lost if the weights themselves were bf16 (4e-4 apart near 0.05, while a
    hundred DPO steps at 5e-6 move a weight by at most 5e-4). A base that is frozen may lie in fewer bits.

    Args:
        quantization: transformers' configuration of a 4-bit base; embeddings and norms are then in `dtype`.

    Raises:
        Mistake: the folder holds no model, or one with numbers that are not finite.
    """
    return score_trained_only(load_plain(folder, dtype, register(), quantization))


def load_plain(folder: Path, dtype: torch.dtype, attention: str, quantization: Any = None) -> Any:
    """Return the model with transformers' own forward. Raises Mistake as `load_network`.

    Args:
        attention: its implementation, by transformers' name.
    """
    network = load_whole(folder, dtype=dtype, attn_implementation=attention, quantization_config=quantization)
    check_finite(network)
    for part in network.modules():
        # bitsandbytes lays 4-bit weights out anew at the first evaluation on a CPU, and reads that layout wrongly on
        # the way back: gradients would be wrong without a word.
        if hasattr(part, "support_avx512bf16_for_cpu"):
            part.support_avx512bf16_for_cpu = False
    return network


def score_trained_only(network: Any) -> Any:
    """Give `network` a forward that returns log-probabilities [N] of the N positions whose target is trained.

    It is called with ids [1, T], positions [1, T], targets [T] and blocks; with `likeliest` it returns the likeliest
    tokens [N] instead. It stays the module's own forward, so that wrappers for several devices see every call.

    Raises:
        Mistake: the model's head does more than a matrix product.
    """
    terms, head = head_terms(network), network.get_output_embeddings()
    if terms:
        raise Mistake(
            f"the head of {network.config.get_text_config().model_type} models is not supported in training",
            found=", ".join(terms),
            hint="choose a model of the Llama, Qwen or SmolLM families",
        )
    network.forward = MethodType(_trained_log_probabilities, network)
    head.forward = MethodType(_score, head)
    return network


def head_terms(network: Any) -> list[str]:
    """Return what a model's head does besides a matrix product: nothing, for most models."""
    config = network.config.get_text_config()
    scaled = [name for name in _SCALED_HEADS if getattr(config, name, None) not in (None, 1.0)]
    bias = getattr(network.get_output_embeddings(), "bias", None)
    return scaled if bias is None else [*scaled, "a head with a bias"]


def _trained_log_probabilities(
    self: Any,
    input_ids: torch.Tensor,
    position_ids: torch.Tensor,
    targets: torch.Tensor,
    blocks: Any,
    likeliest: bool = False,
    **_: Any,
) -> torch.Tensor:
    device = input_ids.device
    states_TE = self.base_model(
        input_ids=input_ids, position_ids=position_ids, use_cache=False, blocks=prepared(blocks, device)
    ).last_hidden_state[0]
    trained = (targets != NOT_TRAINED).nonzero()[:, 0]
    # The head is called, and not its weight read: where weights are cut over processes, a call puts them together.
    head = self.get_output_embeddings()
    found: torch.Tensor = (
        head(states_TE[trained]).argmax(-1) if likeliest else head(states_TE[trained], targets[trained])
    )
    return found


def _score(self: Any, states: torch.Tensor, targets_N: torch.Tensor | None = None) -> torch.Tensor:
    """Return log-probabilities [N] of targets from states [N, E], or where none are told logits: a head's forward."""
    if targets_N is None:
        logits: torch.Tensor = type(self).forward(self, states)
        return logits
    device = states.device
    # Autocast has no say inside a custom function, so the head asks for its number format here.
    enabled = torch.is_autocast_enabled(device.type)
    dtype = torch.get_autocast_dtype(device.type) if enabled else states.dtype
    with torch.autocast(device.type, enabled=False):
        return token_log_probabilities(states, self.weight, targets_N, dtype)


def bf16_pays(host: Host) -> bool:
    """Whether matrix products in bf16 are faster than in float32 here: on GPUs, and on CPUs with bf16 instructions."""
    if host.gpus and torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))  # V100 and T4 emulate it, slowly
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
