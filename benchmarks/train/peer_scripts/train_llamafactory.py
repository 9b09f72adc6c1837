"""Run in LLaMA-Factory's environment: train_llamafactory.py CASE.json, see `benchmarks.train.speed`."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
os.environ["DISABLE_VERSION_CHECK"] = "1"  # it names ranges, and pip's own choice is one past them

from llamafactory.train.tuner import run_exp  # type: ignore[import-not-found]
from timed import Timed  # type: ignore[import-not-found,unused-ignore]


def main() -> None:
    """Train for the case's steps, by its own reading, template and collator."""
    case = json.loads(Path(sys.argv[1]).read_text())
    rows = json.loads(Path(case["rows"]).read_text())
    timed = Timed()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        told = [{"instruction": row["prompt"], "input": "", "output": row["answer"]} for row in rows]
        (place / "rows.json").write_text(json.dumps(told))
        (place / "dataset_info.json").write_text(json.dumps({"rows": {"file_name": "rows.json"}}))
        adapter = {"lora_rank": 16, "lora_alpha": 32, "lora_dropout": 0.0, "lora_target": "all"}
        run_exp(
            {
                "model_name_or_path": case["model"],
                "stage": "sft",
                "do_train": True,
                "finetuning_type": case["method"],
                **(adapter if case["method"] == "lora" else {}),
                "dataset": "rows",
                "dataset_dir": folder,
                "template": "smollm2",
                "overwrite_cache": True,
                "output_dir": str(place / "out"),
                "num_train_epochs": case["steps"],
                "learning_rate": case["rate"],
                "lr_scheduler_type": "constant",
                "logging_steps": 1,
                "save_strategy": "no",
                "report_to": "none",
                "use_cpu": True,
                "disable_tqdm": True,
                "disable_shuffling": True,
                "seed": 0,
                **case["arguments"],
            },
            callbacks=[timed],
        )
        print(timed.told())


if __name__ == "__main__":
    main()
