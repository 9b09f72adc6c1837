"""A model whose weights or moments are cut over processes: tried before step 1, put together, and written."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import torch

from metier.core import Failure
from metier.core.processes import Processes
from metier.train.collate import collate
from metier.train.distributed import from_first, layout
from metier.train.packing import Window


def whole_weights(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Return the trained weights of a model that was cut, whole and in float32; every process has to take part.

    ZeRO trains copies in float32 of weights that it computes with in 16 bits: those copies are returned.

    Returns: by name, on the CPU of the first process; on the others nothing.
    """
    first, found = Processes.here().first, {}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            value = _whole(parameter)
            if first:
                found[name] = value.detach().float().cpu().clone()
    return found


def save_whole(network: torch.nn.Module, folder: Path) -> None:
    """Write the trained weights of a model that was cut, see `whole_weights`; the first process writes."""
    from safetensors.torch import save_file

    weights = whole_weights(network)

    def write() -> None:
        folder.mkdir(parents=True, exist_ok=True)
        save_file(weights, folder / "model.safetensors")

    from_first(write)


def rehearse_cut(trainer: Any, window: Window) -> None:
    """Try the largest window forward and backward on every process, on a model that was cut, and put it together once.

    The loss counts nothing, so that no gradient of it is left with those who collect them.

    Raises:
        Failure: the loss is not finite.
    """
    start = time.monotonic()
    inputs = trainer._prepare_inputs(collate([window]))
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    trainer.recording = False
    with torch.random.fork_rng(devices):
        trainer.model.train()
        with trainer.accelerator.autocast():
            loss = trainer.compute_loss(trainer.model_wrapped, inputs, num_items_in_batch=trainer.weight_of(inputs))
        if layout().startswith("zero"):  # accelerate's way would take an optimizer step, which Adam would count
            trainer.model_wrapped.set_gradient_accumulation_boundary(False)
            trainer.model_wrapped.backward(0.0 * loss, scale_wrt_gas=False)
        else:
            (0.0 * loss).backward()
    trainer.recording = True
    trainer.model_wrapped.zero_grad()
    value = float(loss.detach()) / trainer.accelerator.num_processes
    if not math.isfinite(value):
        raise Failure(
            "the loss is not finite before the first step",
            found=f"{value} on {', '.join(window.names[:3])}",
            hint="look at these rows, and at the base model",
        )
    whole_weights(trainer.model)
    seconds = round(time.monotonic() - start, 3)
    trainer.work.event("rehearsal", tokens=len(window.ids), loss=value, seconds=seconds)


def filled(network: Any, weights: dict[str, torch.Tensor]) -> Any:
    """Return a model as it was loaded, now with the weights that were trained.

    Raises:
        Failure: they are not those of this model.
    """
    trained = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
    if trained != set(weights):
        raise Failure(
            "the trained weights are not those of the model",
            found=", ".join(sorted(trained ^ set(weights))[:3]),
            hint="this is a fault of this program, not of your data: please report it",
        )
    network.load_state_dict(weights, strict=False)
    return network


def _whole(parameter: torch.nn.Parameter) -> torch.Tensor:
    if hasattr(parameter, "full_tensor"):  # FSDP2
        whole: torch.Tensor = parameter.full_tensor()
        return whole
    if hasattr(parameter, "ds_id") or hasattr(parameter, "_hp_mapping"):
        import deepspeed  # type: ignore[import-untyped]

        trained: torch.Tensor = deepspeed.utils.safe_get_full_fp32_param(parameter)
        return trained
    return parameter.data
