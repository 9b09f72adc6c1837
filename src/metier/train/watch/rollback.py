"""Good checkpoints, and the way back to one in the middle of a training."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from metier.train.checkpoint import PREFIX, Checkpoints, step_of

MARGIN = 10
"""Steps before a leap in which what led to it may have begun: a rollback goes further back."""


class Anchors:
    """Checkpoints that a rollback may return to, taken at steps that no clock decides, in `good` beside the others.

    They are hard links of checkpoints, and cost disk only once those are deleted.

    Args:
        every: steps between two.
    """

    def __init__(self, checkpoints: Checkpoints, every: int) -> None:
        self._from, self.every = checkpoints, every
        self.folder = checkpoints.folder / "good"

    def due(self, step: int) -> bool:
        """Whether one is to be taken after `step`."""
        return step > 0 and step % self.every == 0

    def keep(self, step: int, trusted: int) -> None:
        """Keep the checkpoint of `step`, earlier ones that a rollback may want, and the newest up to `trusted`.

        Args:
            trusted: the last step at which a look found nothing.
        """
        source, target = self._from.path(step), self.folder / f"{PREFIX}{step}"
        if not source.is_dir():
            return
        part = self.folder / f"part-{step}"  # renamed when all is linked: a folder with the right name is whole
        for there in (part, target):
            shutil.rmtree(there, ignore_errors=True)
        shutil.copytree(source, part, copy_function=_link)
        part.rename(target)
        steps = self._steps()
        oldest = max((at for at in steps if at <= step - MARGIN), default=0)
        last_trusted = max((at for at in steps if at <= trusted), default=step)
        for at in steps:
            if at < oldest and at != last_trusted:
                shutil.rmtree(self.folder / f"{PREFIX}{at}")

    def newest(self, up_to: int) -> Path | None:
        """Return the newest good checkpoint that was taken at `up_to` or before."""
        steps = [step for step in self._steps() if step <= up_to]
        return self.folder / f"{PREFIX}{steps[-1]}" if steps else None

    def discard_after(self, step: int) -> None:
        """Delete those taken after `step`, from which the training goes on another way."""
        for at in self._steps():
            if at > step:
                shutil.rmtree(self.folder / f"{PREFIX}{at}", ignore_errors=True)

    def _steps(self) -> list[int]:
        return sorted(step_of(path) for path in self.folder.glob(f"{PREFIX}*"))


def anchor_steps(steps: int, wished: int | None) -> int:
    """Return the steps between two good checkpoints: as wished, or a twentieth of all, 10 to 200."""
    return wished or min(max(-(-steps // 20), 10), 200)


def discard_after(checkpoints: Checkpoints, step: int) -> int | None:
    """Delete the checkpoints taken after `step`, and return the step of the newest that is left."""
    left = []
    for path in checkpoints.folder.glob(f"{PREFIX}*"):
        if step_of(path) > step:
            checkpoints.discard(step_of(path))
        else:
            left.append(step_of(path))
    return max(left, default=None)


def restore(trainer: Any, checkpoint: Path) -> None:
    """Put weights, optimizer and loss scaler of `checkpoint` back. Steps and the rate's schedule stay where they are.

    By the trainers' own calls of a resume, so that what is sharded over processes is read as it was written.
    """
    scheduler = trainer.lr_scheduler
    state = scheduler.state_dict()
    folder = str(checkpoint)
    if trainer.is_deepspeed_enabled:
        from transformers.integrations.deepspeed import deepspeed_load_checkpoint

        adapter = hasattr(trainer.model, "peft_config")
        deepspeed_load_checkpoint(trainer.model_wrapped, folder, load_module_strict=not adapter)
    else:
        trainer._load_from_checkpoint(folder, trainer.model_wrapped if trainer.is_fsdp_enabled else trainer.model)
    trainer._load_optimizer_and_scheduler(folder)
    trainer._load_scaler(folder)
    scheduler.load_state_dict(state)
    # A NaN less itself is a NaN: the trainers' way to 0 does not lead out of one.
    trainer._tr_loss.zero_()


def set_rates(trainer: Any) -> None:
    """Give the optimizer the rate of the next step, after what `trainer.guard` knows of rollbacks has changed."""
    scheduler = trainer.lr_scheduler
    rates = [
        base * factor(scheduler.last_epoch)
        for base, factor in zip(scheduler.base_lrs, scheduler.lr_lambdas, strict=True)
    ]
    for group, rate in zip(trainer.optimizer.param_groups, rates, strict=True):
        group["lr"] = rate
    scheduler._last_lr = rates


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copy2(source, target)
