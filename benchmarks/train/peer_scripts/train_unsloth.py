"""Unsloth's side of `benchmarks.train.gpu`: `python train_unsloth.py CASE.json`, see `train_on_gpu.py`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
os.environ.update({"HF_HUB_OFFLINE": "1", "UNSLOTH_DISABLE_STATISTICS": "1"})

from unsloth import FastLanguageModel  # type: ignore[import-not-found,unused-ignore]  # isort: skip - patches the rest

import torch
from train_on_gpu import LAYERS, main, tokenizer  # type: ignore[import-not-found,unused-ignore]
from transformers import AutoModelForCausalLM, LlamaConfig


def load(case: dict[str, Any], folder: Path) -> tuple[Any, Any]:
    """Return the network as Unsloth loads it: it reads a folder, and sets its own attention and checkpointing."""
    base = folder / "base"
    with torch.device("cuda"):
        network = AutoModelForCausalLM.from_config(LlamaConfig(**case["config"]), dtype=torch.bfloat16)
    network.save_pretrained(base)
    tokenizer().save_pretrained(base)
    del network
    torch.cuda.empty_cache()
    checkpointing = case["arguments"].get("gradient_checkpointing", "unsloth")
    full = case["method"] == "full"
    network, _ = FastLanguageModel.from_pretrained(
        str(base),
        max_seq_length=case["length"],
        dtype=torch.bfloat16,
        load_in_4bit=False,
        full_finetuning=full,
        **({"float32_mixed_precision": True} if full else {}),  # else weights and moments are in bf16: another training
        use_gradient_checkpointing=checkpointing,
    )
    if full:
        return network, None
    network = FastLanguageModel.get_peft_model(
        network, r=16, lora_alpha=32, lora_dropout=0, target_modules=LAYERS, use_gradient_checkpointing=checkpointing
    )
    return network, None


if __name__ == "__main__":
    main(load)
