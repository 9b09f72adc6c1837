"""The trainers' arguments: from a step's settings and the machine, not from defaults that change with versions."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers

from metier.core import Host, Mistake
from metier.core.processes import Processes
from metier.train.adapt import precision_on
from metier.train.distributed import layout
from metier.train.options import Settings

REPORT_TO = "METIER_REPORT_TO"
"""Where curves are sent besides the events: `tensorboard`, `mlflow,wandb`. Changes no result, so it is no field."""

_REPORTERS = ("tensorboard", "mlflow", "trackio", "wandb")
_OPTIMIZERS = {
    "adamw": "adamw_torch_fused",
    "adamw_8bit": "adamw_bnb_8bit",
    "paged_adamw_8bit": "paged_adamw_8bit",
    "adafactor": "adafactor",
    "lion": "lion_32bit",
    "sgd": "sgd",
}
_EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
_OF_BITSANDBYTES = ("adamw_8bit", "paged_adamw_8bit", "lion")


def arguments(
    config: Callable[..., transformers.TrainingArguments],
    folder: Path,
    steps: int,
    accumulate: int,
    settings: Settings,
    host: Host,
    validated: bool = False,
    batch: int = 1,
    uneven: bool = False,
    left_out: bool = False,
) -> transformers.TrainingArguments:
    """Return the trainers' arguments.

    Args:
        config: the class of the arguments, SFTConfig or DPOConfig.
        validated: whether there are rows whose loss is looked at during the training.
        batch: rows of a forward pass; a packed window is one.
        uneven: whether `dealt` adds empty passes where processes cannot share those of a step evenly.
        left_out: whether a pass may leave trained weights out, see `may_leave_out`.

    Raises:
        Mistake: the passes of a step cannot be shared by the processes, or curves are sent where nobody is.
    """
    gpu = bool(host.gpus) and torch.cuda.is_available()
    precision = precision_on(host, settings.precision)
    looked_at: dict[str, Any] = {}
    if validated:
        looked_at = {
            "eval_strategy": "steps",
            "eval_steps": -(-steps // settings.evaluations),
            "metric_for_best_model": "loss",
            "greater_is_better": False,
        }
    made = config(
        output_dir=str(folder),
        per_device_train_batch_size=batch,
        per_device_eval_batch_size=1,
        gradient_accumulation_steps=-(-accumulate // Processes.here().total) if uneven else shared(accumulate),
        num_train_epochs=1,  # the schedule holds the windows of all epochs
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        optim=_OPTIMIZERS[settings.optimizer],
        max_grad_norm=settings.max_grad_norm or 0.0,  # 0 is the trainers' word for never
        bf16=precision == "bf16",
        fp16=precision == "fp16",
        use_cpu=not gpu and layout() == "whole",
        # On cores what cuts the weights has been joined already, in a way that the trainers would not find: `together`.
        accelerator_config={"use_configured_state": not gpu and layout() != "whole"},
        seed=settings.seed,
        data_seed=settings.seed,
        # Data parallel: left to the trainers, every pass would be searched for weights that it did not use.
        ddp_find_unused_parameters=left_out,
        gradient_checkpointing=settings.gradient_checkpointing,
        gradient_checkpointing_kwargs={"use_reentrant": False} if settings.gradient_checkpointing else None,
        use_liger_kernel=settings.liger,
        dataloader_pin_memory=gpu,
        remove_unused_columns=False,
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="no",  # the cadence decides
        report_to=[name for name in reporters() if name != "tensorboard"],  # see `Watched.watch`
        run_name=folder.parent.name,
        disable_tqdm=True,
        **looked_at,
    )
    # The recipe decides: transformers would take float32 for no word at all and ask the launcher's variables.
    made.mixed_precision = "no" if precision == "fp32" else precision
    # Several GPUs in one process would mean torch's DataParallel, which TRL refuses: one is used, see `Watched.watch`.
    made._n_gpu = min(made.n_gpu, 1)
    return made


def reporters() -> list[str]:
    """Return where curves are sent, from METIER_REPORT_TO. Raises Mistake for one that is unknown or not installed."""
    wished = [name.strip() for name in os.environ.get(REPORT_TO, "").split(",") if name.strip()]
    for name in wished:
        if name not in _REPORTERS:
            raise Mistake(f"{REPORT_TO} names '{name}', which is unknown", hint=f"there are: {', '.join(_REPORTERS)}")
        if importlib.util.find_spec(name) is None:
            raise Mistake(f"{REPORT_TO} names '{name}', which is not installed", hint=f"pip install {name}")
    return wished


def shared(accumulate: int) -> int:
    """Return how many passes of an optimizer step each process does, so that a step is the same on any number of them.

    Raises:
        Mistake: they cannot be shared evenly.
    """
    processes = Processes.here().total
    if accumulate % processes:
        raise Mistake(
            f"an optimizer step's {accumulate} forward passes cannot be shared by {processes} processes",
            found=f"WORLD_SIZE={processes}",
            hint="start a number of processes that divides it, or make the optimizer step larger",
        )
    return accumulate // processes


def may_leave_out(network: Any) -> bool:
    """Whether a forward pass may use only some of the trained weights: experts that no token goes to, other senses.

    Of a plain text model all are used, whatever its method: what `freeze` and an adapter do not train is no part of it.
    """
    text = network.config.get_text_config()
    return text is not network.config or any(getattr(text, name, None) for name in _EXPERTS)


def is_first_process() -> bool:
    """Whether this is, of the processes that torchrun or accelerate started, the one that writes models."""
    return Processes.here().first


def check_settings(settings: Settings, host: Host) -> None:
    """Raise Mistake if what is asked for is not to be had here: an optimizer, kernels, a number format."""
    gpu = bool(host.gpus) and torch.cuda.is_available()
    if not gpu and layout() != "whole" and precision_on(host, settings.precision) == "bf16":
        raise Mistake(
            f"without GPUs {layout()} trains in float32 only",
            found=f"precision: {settings.precision}, which is bf16 here",
            hint="set precision: fp32, or start plain data parallel",
        )
    if settings.optimizer in _OF_BITSANDBYTES:
        if importlib.util.find_spec("bitsandbytes") is None:
            raise Mistake(f"the optimizer {settings.optimizer} needs bitsandbytes", hint="pip install 'metier[qlora]'")
        if not gpu:
            raise Mistake(
                f"the optimizer {settings.optimizer} runs on GPUs only",
                found="no GPU here",
                hint="set optimizer: adamw, or adafactor for less memory",
            )
    if settings.liger and not (gpu and importlib.util.find_spec("liger_kernel")):
        raise Mistake(
            "liger needs a GPU and the package liger-kernel",
            found="no GPU" if not gpu else "liger-kernel is not installed",
            hint="leave liger out: the answers-only head is already computed in chunks",
        )
