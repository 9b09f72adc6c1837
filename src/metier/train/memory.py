"""What a full-parameter training needs, worked out before it starts. Light: `metier plan` calls it."""

from __future__ import annotations

from typing import Any

from metier.core import Estimate, Host, Step
from metier.core.types import Shaped

_INTERPRETER = 700 << 20  # python, torch and transformers, loaded
_KEEP_BYTES = 1 << 30  # as in metier.train.loss
_FLOPS_PER_CORE = 1e11  # 250 tokens/s of 135M parameters on two cores with bf16 instructions


def parameters(config: dict[str, Any]) -> int:
    """Return the parameters of a Llama-shaped model from its config.json."""
    width, layers, inner = config["hidden_size"], config["num_hidden_layers"], config["intermediate_size"]
    heads = config["num_attention_heads"]
    head = config.get("head_dim") or width // heads
    groups = config.get("num_key_value_heads") or heads
    attention = 2 * width * heads * head + 2 * width * groups * head
    embeddings = config["vocab_size"] * width * (1 if config.get("tie_word_embeddings") else 2)
    return int(embeddings + layers * (attention + 3 * width * inner + 2 * width) + width)


def memory_bytes(config: dict[str, Any], window: int, trained: int) -> int:
    """Return the peak memory of a window of `window` tokens of which `trained` carry loss.

    16 bytes a parameter: float32 weight, gradient and Adam's two moments; the bf16 copies that autocast keeps during
    a pass; per token and layer what the way back needs; and the head's slopes at trained positions.
    """
    count = parameters(config)
    width, inner, layers = config["hidden_size"], config["intermediate_size"], config["num_hidden_layers"]
    # Per layer, in bytes a token: norms and residuals in float32, attention and MLP activations in bf16.
    activations = window * layers * (6 * width * 4 + 8 * width * 2 + 5 * inner * 2)
    head = min(trained * config["vocab_size"] * 2, _KEEP_BYTES) + 4 * (1 << 28)
    return int(_INTERPRETER + count * (16 + 2) + activations + head)


def config_of(base: Step[Any]) -> dict[str, Any] | None:
    """Return the shape of the model at the bottom of a chain of trainings, or None where it is not known yet."""
    while isinstance(held := getattr(base, "base", None), Step):
        base = held
    return base.shape() if isinstance(base, Shaped) else None


def estimate_of(base: Step[Any], host: Host, sequence_length: int, tokens: int | None = None) -> Estimate | None:
    """Return what training on windows of all-trained tokens needs at most; None if the model's shape is not known.

    Args:
        tokens: how many are trained on, where that is known.
    """
    config = config_of(base)
    if config is None:
        return None
    try:
        count = parameters(config)
        window = window_tokens(host, sequence_length)
        memory = memory_bytes(config, window, window)
    except KeyError:
        return None
    seconds = None if tokens is None or host.gpus else 6 * count * tokens / (_FLOPS_PER_CORE * host.threads)
    # The model, and two checkpoints of weights and two moments, all float32.
    return Estimate(seconds=seconds, memory_bytes=memory, disk_bytes=count * (4 + 2 * 12))


def window_tokens(host: Host, sequence_length: int) -> int:
    """Return how many tokens one forward pass takes on `host`, never less than the longest row.

    On CPU 1024: half of that was a tenth slower with 135M parameters, and more was not tried. On a GPU 16,384, to keep
    the multiprocessors busy.
    """
    return max(sequence_length, 16_384 if host.gpus else 1024)
