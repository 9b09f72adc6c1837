"""Rows set aside: their loss is looked at during a training, and the weights with the lowest are kept."""

from __future__ import annotations

import hashlib
import json
import math
import random
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch

from metier.core import Failure, Mistake
from metier.core.files import write_json_atomic
from metier.core.processes import Processes
from metier.train.attempt import events_of
from metier.train.checkpoint import MARKER, fault_in, sums_of
from metier.train.collate import EMPTY, collate
from metier.train.distributed import from_first, layout
from metier.train.packing import Group, Row, Window, windows_of

Item = TypeVar("Item")

_BEST = "best"


class Validation:
    """The loss on windows that are not trained on, and the best weights so far, in `folder`/best.

    Args:
        trainer: a `Packed` trainer.
    """

    def __init__(self, trainer: Any, windows: Sequence[Window], folder: Path) -> None:
        self.trainer, self.windows = trainer, windows
        self.best = folder / _BEST
        self._anew = False  # the best weights so far are gone: those of the next look are the best

    def go_on(self, resume: Path) -> None:
        """Look whether the best weights so far are there, before a training goes on from a checkpoint.

        Those that a kill left beside their place are put there. Where they were taken away the lowest loss of the looks
        to come chooses, and that is told.

        Raises:
            Mistake: they are damaged, which would else be found when the training has ended.
        """
        state = json.loads((resume / "trainer_state.json").read_text()) if self.windows else {}
        if (lowest := state.get("best_metric")) is None:
            return
        fault = from_first(lambda: _mended(self.best, lowest))
        if fault is None:
            return
        if from_first(self.best.exists):
            raise Mistake(
                "the weights with the lowest validation loss so far are damaged",
                found=f"{self.best}: {fault}",
                hint=f"remove {self.best} to go on and keep the best of the looks to come, or {self.best.parent} "
                "to begin anew",
            )
        self._anew = True
        self.trainer.work.warn(
            f"the weights with the lowest validation loss so far, {lowest:.4f}, are gone: "
            "the best of the looks to come are kept"
        )

    def loss(self) -> float:
        """Return the mean loss over all trained tokens (or pairs) of the windows, without dropout and noise.

        The windows are shared out over the processes; all get the same number.
        """
        trainer, device = self.trainer, self.trainer.args.device
        training, trainer.recording = trainer.model.training, False
        one, sums = torch.ones((), device=device), torch.zeros(2, dtype=torch.float64, device=device)  # loss, weight
        trainer.model.eval()
        with torch.no_grad():
            for window in self._own():
                inputs = trainer._prepare_inputs(collate([window]))
                with trainer.compute_loss_context_manager():
                    loss = trainer.compute_loss(trainer.model, inputs, num_items_in_batch=one)
                sums += torch.tensor([float(loss), trainer.weight_of(inputs)], dtype=torch.float64, device=device)
        trainer.model.train(training)
        trainer.recording = True
        total, weight = trainer.accelerator.gather(sums[None]).sum(0).tolist()
        return float(total / trainer.accelerator.num_processes / weight)

    def _own(self) -> Iterator[Window]:
        """Yield this process's windows: as many on all, because weights that are cut need all of them in each pass."""
        here = Processes.here()
        for at in range(here.rank, -(-len(self.windows) // here.total) * here.total, here.total):
            yield self.windows[at] if at < len(self.windows) else EMPTY

    def look(self) -> float:
        """Return the loss now; if it is the lowest so far, save the weights.

        Raises:
            Failure: it is not finite.
        """
        trainer, step = self.trainer, self.trainer.state.global_step
        loss = self.loss()
        if not math.isfinite(loss):
            raise Failure(f"the validation loss is not finite after step {step}", found=str(loss))
        if self._anew:
            trainer.state.best_metric, self._anew = None, False
        best = trainer.state.best_metric
        if best is None or loss < best:
            part = _beside(self.best, "part")
            if trainer.is_world_process_zero():
                shutil.rmtree(part, ignore_errors=True)
            trainer.save_model(str(part))
            if trainer.is_world_process_zero():
                write_json_atomic(part / MARKER, {"step": step, "loss": round(loss, 5), "files": sums_of(part)})
                _replace(self.best, part)
        if trainer.is_world_process_zero():
            trainer.work.event("validation", step=step, loss=round(loss, 5))
        return loss

    def stale(self, patience: int | None) -> bool:
        """Whether the last `patience` looks brought no better loss. From what checkpoints keep."""
        losses = [entry["eval_loss"] for entry in self.trainer.state.log_history if "eval_loss" in entry]
        return patience is not None and len(losses) - 1 - losses.index(min(losses)) >= patience

    def keep_best(self, work: Any) -> None:
        """Put the best weights back into the model, and tell which they are."""
        if not self.windows:
            return
        looks = {event["step"]: event["loss"] for event in events_of(work.shared, "validation")}
        last, best = max(looks), _told(self.best)
        if layout() == "whole":  # what is cut is filled when it is whole again
            restore(self.trainer.model, best_weights(self.best.parent))
        step, loss = best.get("step"), best.get("loss")
        work.figure("validation_loss", {"before": looks.get(0), "best": loss, "last": looks[last], "best_step": step})
        if step is not None and step < last:
            work.say(f"kept the weights of step {step}: validation loss {loss:.4f}, {looks[last]:.4f} at the end")


def best_weights(folder: Path) -> dict[str, torch.Tensor]:
    """Return the best weights so far of a validated training whose checkpoints are in `folder`.

    Raises:
        Failure: they are gone, or damaged.
    """
    from safetensors.torch import load_file

    best = folder / _BEST
    if (fault := _fault(best)) is not None:
        raise Failure(
            "the weights with the lowest validation loss are gone or damaged",
            found=f"{best}: {fault}",
            hint=f"remove {folder} to begin anew",
        )
    weights: dict[str, torch.Tensor] = {}
    for shard in sorted(best.glob("*.safetensors")):
        weights.update(load_file(shard))
    return weights


def _beside(best: Path, what: str) -> Path:
    return best.with_name(f"{best.name}.{what}")


def _replace(best: Path, part: Path) -> None:
    """Put `part` in the place of the best weights. A kill at any moment leaves either of them whole: see `_mended`."""
    old = _beside(best, "old")
    shutil.rmtree(old, ignore_errors=True)
    if best.exists():
        best.rename(old)
    part.rename(best)
    shutil.rmtree(old, ignore_errors=True)


def _mended(best: Path, lowest: float) -> str | None:
    """Return what is wrong with the best weights, or None.

    Whole ones beside them are put in their place if their loss is no higher than `lowest`, the checkpoint's.
    """
    fault = _fault(best)
    for one in (_beside(best, "part"), _beside(best, "old")):
        if fault is not None and _fault(one) is None and _told(one).get("loss", math.inf) <= round(lowest, 5):
            shutil.rmtree(best, ignore_errors=True)
            one.rename(best)
            fault = None
    if fault is None:
        for what in ("part", "old"):
            shutil.rmtree(_beside(best, what), ignore_errors=True)
    return fault


def _told(best: Path) -> dict[str, Any]:
    """Return what stands beside the best weights: step, loss, and size and checksum of every file."""
    try:
        told = json.loads((best / MARKER).read_text())
    except (OSError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}


def _fault(best: Path) -> str | None:
    """Return what is wrong with the best weights, or None."""
    files = _told(best).get("files")
    if not files:
        return f"no {MARKER} that can be read" if best.exists() else "there is no such folder"
    return fault_in(best, files)


def restore(model: Any, weights: dict[str, torch.Tensor]) -> None:
    """Put saved weights, or a saved adapter, back into `model`."""
    if hasattr(model, "peft_config"):
        import peft

        peft.set_peft_model_state_dict(model, weights)
    else:
        found = model.load_state_dict(weights, strict=False)
        tied = set(getattr(model, "all_tied_weights_keys", None) or ())
        if unknown := [*found.unexpected_keys, *sorted(set(found.missing_keys) - tied)]:
            raise Failure(
                "saved weights are not those of this model",
                found=f"{len(unknown)} tensors are missing or unknown, such as {unknown[0]}",
                hint="remove the checkpoints to begin anew",
            )


def set_aside(
    items: Sequence[Item], share: float, seed: int, name: Callable[[Item], str]
) -> tuple[list[Item], list[Item]]:
    """Return the items to train on and those set aside: all of a share of the names, drawn by `seed`, one at least.

    Args:
        name: of an item. Pieces of one document or conversation, and answers to one prompt, have one name, and are
            never on both sides.

    Raises:
        Mistake: a share is wished for, and there are not two names.
    """
    names = list(dict.fromkeys(map(name, items)))
    if share == 0:
        return list(items), []
    if len(names) < 2:
        raise Mistake(
            f"validation_share {share:g} would leave nothing to train on, or nothing to look at",
            found=f"all rows belong to one document, conversation or prompt: {', '.join(names) or 'none'}",
            hint="give more of them, or set validation_share: 0",
        )
    count = min(max(1, round(share * len(names))), len(names) - 1)
    chosen = set(random.Random(f"{seed}/validation").sample(names, count))
    train = [item for item in items if name(item) not in chosen]
    return train, [item for item in items if name(item) in chosen]


def prompt_of(row: Row) -> str:
    """Return a name of what stands before a row's answer, by which all answers to one prompt are on one side."""
    return hashlib.sha256(repr(list(row.ids[: row.mask.index(True)])).encode()).hexdigest()[:16]


def validation_windows(groups: Sequence[Group], window_tokens: int) -> list[Window]:
    """Return the windows of groups that are set aside."""
    if not groups:
        return []
    count = -(-sum(group.tokens for group in groups) // window_tokens)
    return windows_of(groups, min(count, len(groups)))
