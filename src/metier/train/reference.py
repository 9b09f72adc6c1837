"""What the model said before it was trained: the log-probabilities that preferences are compared with."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from metier.core import Mistake
from metier.core.files import write_json_atomic
from metier.train.adapt import precision_on
from metier.train.packing import Window
from metier.train.trainer import Packed

Nats = Mapping[str, list[float]]


def reference_of(trainer: Packed, read: Callable[[Window], Nats]) -> dict[str, list[float]]:
    """Return the reference's log-probabilities of all rows, by name, worked out once or read from a killed attempt.

    Args:
        read: returns those of a window's rows; called without gradients, the adapter off, in evaluation mode.

    Raises:
        Mistake: it has to be worked out, and the weights are no longer those of the base.
    """
    path, fingerprint = trainer.checkpoints.folder / "reference.json", trainer.checkpoints.fingerprint
    number_format = precision_on(trainer.work.host, trainer.settings.precision)
    if path.is_file():
        kept = json.loads(path.read_text())
        if kept["fingerprint"] == fingerprint and kept.get("number format", number_format) == number_format:
            nats: dict[str, list[float]] = kept["nats"]
            return nats
    if trainer.loaded and not hasattr(trainer.model, "peft_config"):
        raise Mistake(
            "the reference of this training is gone: a checkpoint's weights are loaded, and those of the base are not",
            found=f"{path}: {'of another number format' if path.is_file() else 'not there'}",
            hint=f"set the precision it began with, or remove {path.parent} to begin anew",
        )
    trainer.model.eval()
    found: dict[str, list[float]] = {}
    windows = [*trainer.validation.windows, *trainer.schedule.windows]
    total = sum(len(window.ids) for window in windows)
    with (
        trainer.work.progress("reference", total=total, unit="tokens") as bar,
        adapter_off(trainer.model),
        torch.no_grad(),
    ):
        for window in windows:
            if not found.keys() >= set(window.names):  # of a later epoch they are known
                found |= read(window)
            bar.advance(len(window.ids))
    if trainer.is_world_process_zero():
        write_json_atomic(path, {"fingerprint": fingerprint, "number format": number_format, "nats": found})
    return found


def adapter_off(model: Any) -> AbstractContextManager[None]:
    """Return a context in which a PEFT model is its base; any other model is what it is."""
    off: AbstractContextManager[None] = model.disable_adapter() if hasattr(model, "peft_config") else nullcontext()
    return off
