"""Before step 1: the window that needs most memory, forward and backward, and one save and reload."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence

import torch

from metier.core import Failure
from metier.train.collate import collate
from metier.train.packing import Window
from metier.train.trainer import Packed, longest


def rehearse(trainer: Packed, windows: Sequence[Window]) -> None:
    """Try what could fail an hour later. Leaves weights, gradients and random state as they were.

    Raises:
        Failure: the loss of the largest window is not finite, it does not fit the memory, or weights do not survive
            saving.
    """
    start = time.monotonic()
    random_state = torch.get_rng_state()
    window = windows[longest(windows)]
    inputs = trainer._prepare_inputs(collate([window]))
    # Activations are worked out twice only in training, which is what the memory has to hold.
    trainer.model.train(trainer.settings.gradient_checkpointing)
    trainer.recording = False
    try:
        with trainer.compute_loss_context_manager():
            loss = trainer.compute_loss(trainer.model, inputs, num_items_in_batch=trainer.weight_of(inputs))
        loss.backward()
    except torch.OutOfMemoryError as error:
        raise Failure(
            "the longest window does not fit the memory of the GPU",
            found=str(error).splitlines()[0],
            hint="lower sequence_length",
        ) from error
    trainer.model.zero_grad()
    trainer.recording = True
    if not bool(torch.isfinite(loss)):
        raise Failure(
            "the loss is not finite before the first step",
            found=f"{loss.item()} on {', '.join(window.names[:3])}",
            hint="look at these rows, and at the base model",
        )
    _save_and_reload(trainer)
    torch.set_rng_state(random_state)
    trainer.work.event("rehearsal", tokens=len(window.ids), loss=loss.item(), seconds=time.monotonic() - start)


def _save_and_reload(trainer: Packed) -> None:
    from safetensors.torch import load_file

    folder = trainer.checkpoints.folder / "rehearsal"
    shutil.rmtree(folder, ignore_errors=True)
    trainer.save_model(str(folder))
    weights = trainer.model.state_dict()
    if trainer.settings.adapter:
        import peft

        weights = peft.get_peft_model_state_dict(trainer.model, save_embedding_layers=False)
    for shard in folder.glob("*.safetensors"):
        for name, value in load_file(shard).items():
            if not torch.equal(value, weights[name].cpu()):
                raise Failure(f"'{name}' does not survive saving and loading", hint=f"check the disk of {folder}")
    shutil.rmtree(folder, ignore_errors=True)  # only the first of several processes wrote it
