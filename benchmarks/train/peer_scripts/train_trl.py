"""Run in TRL's environment: train_trl.py CASE.json, see `benchmarks.train.speed`. Prints seconds and losses."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import torch
from datasets import Dataset  # type: ignore[import-untyped,unused-ignore]
from peft import LoraConfig
from timed import Timed  # type: ignore[import-not-found,unused-ignore]
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer


class _InOrder:
    """Rows in the order they were given in, so that all peers pad the same batches."""

    def _get_train_sampler(self, dataset: Any = None) -> Any:
        return torch.utils.data.SequentialSampler(dataset or self.train_dataset)  # type: ignore[attr-defined]


class Sft(_InOrder, SFTTrainer):  # type: ignore[misc,unused-ignore]
    """TRL's trainer."""


class Dpo(_InOrder, DPOTrainer):  # type: ignore[misc,unused-ignore]
    """TRL's trainer."""


def main() -> None:
    """Train for the case's steps."""
    case = json.loads(Path(sys.argv[1]).read_text())
    tokenizer = AutoTokenizer.from_pretrained(case["model"])
    network = AutoModelForCausalLM.from_pretrained(case["model"], dtype=torch.float32)
    rows = json.loads(Path(case["rows"]).read_text())
    dpo = case["task"] == "dpo"
    trainer_class, config_class = (Dpo, DPOConfig) if dpo else (Sft, SFTConfig)
    if dpo:
        data = Dataset.from_list([{name: row[name] for name in ("prompt", "chosen", "rejected")} for row in rows])
    else:
        labels = [[token if on else -100 for token, on in zip(row["ids"], row["mask"], strict=True)] for row in rows]
        data = Dataset.from_list(
            [{"input_ids": row["ids"], "labels": told} for row, told in zip(rows, labels, strict=True)]
        )
    lora = LoraConfig(r=16, lora_alpha=32, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM")
    timed = Timed()
    with tempfile.TemporaryDirectory() as folder:
        config = config_class(
            output_dir=folder,
            num_train_epochs=case["steps"],
            learning_rate=case["rate"],
            lr_scheduler_type="constant",
            logging_steps=1,
            save_strategy="no",
            report_to=[],
            use_cpu=True,
            disable_tqdm=True,
            seed=0,
            **case["arguments"],
        )
        start = time.process_time()
        trainer = trainer_class(
            model=network,
            args=config,
            train_dataset=data,
            processing_class=tokenizer,
            peft_config=lora if case["method"] == "lora" else None,
            callbacks=[timed],
        )
        prepared = time.process_time() - start
        trainer.train()
    print(timed.told(prepared=prepared))


if __name__ == "__main__":
    main()
