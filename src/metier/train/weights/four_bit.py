"""A base model's weights as a 4-bit training saw them: rounded to NF4 and back, with bitsandbytes' own arithmetic."""

from __future__ import annotations

from typing import Any, Literal

import torch

from metier.core import Mistake

FourBit = Literal["nf4", "nf4-double"]
"""NF4 in blocks of 64 values (Dettmers et al. 2023); "double": the blocks' scales are rounded too."""


def needs_bitsandbytes() -> Any:
    """Return bitsandbytes' functions. Raises Mistake if it is not installed."""
    try:
        from bitsandbytes import functional
    except ImportError:
        raise Mistake("bitsandbytes is not installed", hint="pip install bitsandbytes") from None
    return functional


def is_rounded(name: str, shape: tuple[int, ...], kept: set[str | None]) -> bool:
    """Whether a 4-bit base holds this weight in 4 bits: all matrices but embeddings (`kept`) and head."""
    return (
        len(shape) == 2
        and name.endswith(".weight")
        and name not in kept
        and "wpe" not in name
        and "lm_head" not in name
    )


def rounded(weight: torch.Tensor, kind: FourBit) -> torch.Tensor:
    """Return a weight after going to NF4 and back, in its own number format."""
    functional = needs_bitsandbytes()
    packed, state = functional.quantize_4bit(
        weight.contiguous(), blocksize=64, compress_statistics=kind == "nf4-double", quant_type="nf4"
    )
    back: torch.Tensor = functional.dequantize_4bit(packed, state)
    return back.to(weight.dtype).reshape(weight.shape)
