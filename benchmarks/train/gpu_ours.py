"""Our side of `benchmarks.train.gpu`, a case in a process of its own: `python -m benchmarks.train.gpu_ours CASE.json`.

The network is made by `metier.train.adapt.network_for` and trained by `PackedTrainer`, as a step does; only the weights
are not read from a file, but drawn where they are trained (those of a four-bit base are written and read once, as
bitsandbytes packs them while it loads). Left out are the rehearsal, the looks, the checkpoints and the saving of the
result: 8B in float32 are 32 GB, four times over.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any, ClassVar

import torch

from benchmarks.train.gpu_cases import Case, case_of, schedule_of
from benchmarks.train.peer_scripts.gpu_clock import Clock, facts, matrix_peak, peak_of
from metier.core import Host, Progress, Step, Work
from metier.core.types import Model

_NEVER = "1000000000"  # steps between checkpoints


class Trained(Step[Model]):
    """What stands for the step of a training."""

    name: ClassVar[str] = "benchmark-gpu"

    def run(self, work: Work) -> None:
        """Do nothing: `train` does it."""


def main() -> None:
    """Train the case that the file describes, and print what was measured as JSON."""
    case = case_of(json.loads(Path(sys.argv[1]).read_text()))
    print(json.dumps(train(case, Host.here())), flush=True)


def train(case: Case, host: Host) -> dict[str, Any]:
    """Train on the case's steps; return seconds at which they ended, losses, bytes, and the peak of matrix products."""
    import metier.train.network
    from metier.models.tiny import tiny_tokenizer
    from metier.train.adapt import network_for
    from metier.train.trainer import PackedTrainer
    from metier.train.tune import quiet

    os.environ["METIER_CHECKPOINT_STEPS"] = _NEVER
    quiet()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    reached = matrix_peak(device) if case.kind == "speed" else None
    with tempfile.TemporaryDirectory() as place:
        base = Path(place) / "base"
        base.mkdir()
        (base / "config.json").write_text(json.dumps(case.config))
        if case.method == "qlora":
            _write(case, base, device)
        else:
            metier.train.network.load_whole = _drawn(device)  # type: ignore[attr-defined]
        torch.manual_seed(0)
        network = network_for(base, case.settings, host)
        plan = schedule_of(case, host)
        work = Work(Trained(), Path(place) / "work", host, {}, Progress())
        work.folder.mkdir()
        with work.progress("train", total=plan.tokens, unit="tokens") as bar:
            trainer = PackedTrainer(
                network, tiny_tokenizer(), plan, case.settings, work.folder / "checkpoints", work, bar
            )
            trainer.prepare()
            clock = Clock(device)
            trainer.add_callback(clock)
            if device.type == "cuda":
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats()
            trainer.run(None)
        losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    window = max(len(window.ids) for window in plan.windows)
    return {
        **facts(device),
        **peak_of(device),
        "matrix_peak": reached,
        "ends": clock.ends,
        "losses": losses,
        "window": window,
        "passes": plan.accumulate,
    }


def _drawn(device: torch.device) -> Any:
    """Return what stands for `load_whole`: the model of a folder's config.json with random weights on the device."""

    def load(folder: Path, dtype: torch.dtype, attn_implementation: str, **_: Any) -> Any:
        from transformers import AutoConfig, AutoModelForCausalLM

        config = AutoConfig.from_pretrained(folder)
        with device:
            return AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation=attn_implementation)

    return load


def _write(case: Case, folder: Path, device: torch.device) -> None:
    """Write random weights in bf16."""
    from transformers import AutoModelForCausalLM, LlamaConfig

    with device:
        network = AutoModelForCausalLM.from_config(LlamaConfig(**case.config), dtype=torch.bfloat16)
    network.save_pretrained(folder)
    del network
    if device.type == "cuda":
        torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
