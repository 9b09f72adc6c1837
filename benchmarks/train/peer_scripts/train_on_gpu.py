"""TRL's side of `benchmarks.train.gpu`, and what Unsloth's shares: `python train_on_gpu.py CASE.json`. Prints JSON.

CASE.json: method, config (of the model), rows (ids and mask), length, steps, arguments (of SFTConfig).
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
os.environ["HF_HUB_OFFLINE"] = "1"

import torch
from datasets import Dataset  # type: ignore[import-untyped,unused-ignore]
from gpu_clock import Clock, facts, peak_of  # type: ignore[import-not-found,unused-ignore]
from peft import LoraConfig
from tokenizers import Tokenizer, models
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast
from trl import SFTConfig, SFTTrainer

LAYERS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


class Counting(SFTTrainer):  # type: ignore[misc,unused-ignore]
    """The trainer, on rows in the order they were given in; it counts the tokens of each pass that are no padding."""

    seen: list[Any]

    def _get_train_sampler(self, dataset: Any = None) -> Any:
        return torch.utils.data.SequentialSampler(dataset or self.train_dataset)

    def training_step(self, model: Any, inputs: dict[str, Any], *args: Any, **named: Any) -> Any:
        """Count, and train."""
        mask = inputs.get("attention_mask")
        # Summed on the device, and read when all is done: nothing waits for it.
        self.seen.append((self.state.global_step, inputs["input_ids"].numel() if mask is None else (mask > 0).sum()))
        return super().training_step(model, inputs, *args, **named)


def main(load: Callable[[dict[str, Any], Path], tuple[Any, Any]]) -> None:
    """Train for the case's steps.

    Args:
        load: returns the network of a case, and the adapter that TRL is to put on it; a folder is at hand for it.
    """
    case = json.loads(Path(sys.argv[1]).read_text())
    with tempfile.TemporaryDirectory() as folder:
        network, adapter = load(case, Path(folder))
        config = SFTConfig(
            output_dir=folder,
            max_steps=case["steps"],
            max_length=case["length"],
            learning_rate=1e-5,
            lr_scheduler_type="constant",
            logging_steps=1,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            use_cpu=DEVICE.type == "cpu",
            seed=0,
            **case["arguments"],
        )
        clock = Clock(DEVICE)
        trainer = Counting(
            model=network,
            args=config,
            train_dataset=_data(case["rows"]),
            processing_class=tokenizer(),
            peft_config=adapter,
            callbacks=[clock],
        )
        trainer.seen = []
        trainer.train()
    tokens = [0] * case["steps"]
    for step, count in trainer.seen:
        tokens[step] += int(count)
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    told = {**facts(DEVICE), **peak_of(DEVICE), "ends": clock.ends, "tokens": tokens, "losses": losses}
    print(json.dumps(told | {"attention": network.config._attn_implementation}))


def _data(rows: Any) -> Any:
    labels = [[token if on else -100 for token, on in zip(row["ids"], row["mask"], strict=True)] for row in rows]
    return Dataset.from_list(
        [{"input_ids": row["ids"], "labels": told} for row, told in zip(rows, labels, strict=True)]
    )


def tokenizer() -> Any:
    """Return a tokenizer that only pads: rows come as ids."""
    words = {"<pad>": 0, "<end>": 1, "<unknown>": 2}
    plain = Tokenizer(models.WordLevel(words, unk_token="<unknown>"))
    return PreTrainedTokenizerFast(
        tokenizer_object=plain, pad_token="<pad>", eos_token="<end>", unk_token="<unknown>", model_max_length=8192
    )


def plain(case: dict[str, Any], _folder: Path) -> tuple[Any, Any]:
    """Return a network with random weights, and an adapter's configuration.

    As a careful user has it: the base of an adapter in bf16 (TRL's own default is float32), FlashAttention if it is
    installed, which packed rows ask for.
    """
    lora = case["method"] == "lora"
    adapter = LoraConfig(r=16, lora_alpha=32, lora_dropout=0.0, target_modules=LAYERS, task_type="CAUSAL_LM")
    flash = DEVICE.type == "cuda" and importlib.util.find_spec("flash_attn") is not None
    torch.manual_seed(0)
    with DEVICE:
        network = AutoModelForCausalLM.from_config(
            LlamaConfig(**case["config"]),
            dtype=torch.bfloat16 if lora else torch.float32,
            attn_implementation="flash_attention_2" if flash else "sdpa",
        )
    return network, adapter if lora else None


if __name__ == "__main__":
    main(plain)
