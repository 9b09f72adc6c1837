"""What every trainer here does beside its loss: it is seen at work, stops when it diverges, and is safe to kill."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
import transformers
from transformers.trainer_callback import PrinterCallback

from metier.core import Failure, Work
from metier.train.arguments import reporters
from metier.train.checkpoint import Cadence, Checkpoints, step_of
from metier.train.distributed import agreed, barrier, from_first, layout, sharded
from metier.train.options import Scheduler, Settings
from metier.train.packing import Window
from metier.train.stop import TERMINATED, Stop
from metier.train.watch.guard import Guard
from metier.train.watch.looks import Looks
from metier.train.watch.samples import Asked, prompts_for

if TYPE_CHECKING:
    from transformers import Trainer as _Trainer
else:
    _Trainer = object


def rate(step: int, steps: int, warmup: int, scheduler: Scheduler = "cosine") -> float:
    """Return the factor of the learning rate at `step`, counted from 0: a linear rise, then what `scheduler` says.

    Unlike transformers' own it is never 0: with some dozens of steps, a step at rate 0 is a loss.
    """
    if step < warmup:
        return (step + 1) / (warmup + 1)
    gone = (step - warmup) / max(1, steps - warmup)
    return {"cosine": 0.5 * (1 + math.cos(math.pi * gone)), "linear": 1 - gone, "constant": 1.0}[scheduler]


class Watched(_Trainer):
    """Stands before a TRL trainer in a class's bases. `watch` is called once the trainer is made.

    supervised: whether the loss falls as the model learns. most_lost: nats a token that the chosen answers of pairs may
    lose, where there are any. doubles: whether the loss cannot get above twice what it begins with.
    """

    supervised: ClassVar[bool] = True
    most_lost: float | None = None
    doubles: bool = False
    control: Any

    def watch(self, settings: Settings, work: Work, checkpoints: Checkpoints, validated: bool = False) -> None:
        """Begin to watch.

        Args:
            work: where events go.
            validated: whether a last look at the validation rows is wanted.
        """
        self.settings, self.work, self.checkpoints = settings, work, checkpoints
        for parameter in self.model.parameters():
            if parameter.requires_grad and not hasattr(
                parameter, "ds_id"
            ):  # TRL casts the adapter of a 4-bit base to bf16, where small steps are lost
                parameter.data = parameter.data.float()
        self.cadence = Cadence.here()
        if len(work.host.gpus) > 1 and self.args.world_size == 1:
            work.warn(f"one of {len(work.host.gpus)} GPUs is used: `metier plan` writes the line that starts them all")
        self.remove_callback(PrinterCallback)
        if "tensorboard" in reporters():
            # The trainers' own place is among the checkpoints, which are deleted. Hidden: no part of what is made.
            from torch.utils.tensorboard import SummaryWriter
            from transformers.integrations import TensorBoardCallback

            self.add_callback(TensorBoardCallback(SummaryWriter(str(work.folder / ".curves"))))
        self.stop = Stop()
        self.guard = Guard(self)
        self.add_callback(_Pace(self.cadence, self.stop, validated, self.guard))

    def look_with(self, tokenizer: Any, windows: Sequence[Window], tokens: int, asked: Sequence[Asked] = ()) -> None:
        """Say what the looks into the model ask, see `Looks`: prompts of the rows in `windows`, or those of `asked`.

        Args:
            tokens: that the training computes.
        """
        if self.settings.watch.looks:
            prompts, stops = prompts_for(tokenizer, windows, self.model)
            asking, kept = ([*asked, *prompts], stops), self.checkpoints.folder / "before.json"
            self.guard.looks = Looks(self, self.settings.watch, tokenizer, asking, tokens, kept, together=sharded())

    def run(self, resume: Path | None) -> None:
        """Train, from the checkpoint `resume` on where there is one.

        Raises:
            SystemExit: with 143, after a SIGTERM and the checkpoint that it asks for.
        """
        if self.guard.looks is not None and layout() == "whole":
            self.guard.looks.begin(step_of(resume) if resume else 0)
        with self.stop:
            self.train(resume_from_checkpoint=str(resume) if resume else None)
        if self.stop.asked and self.state.global_step < self.state.max_steps:
            self.work.say(
                f"asked to end: saved after step {self.state.global_step}; the same command goes on from there"
            )
            barrier()  # the first to leave has the launcher end the others, which are to have said so before
            # What is left to do is to end. Python looks through all objects for garbage then, which on a busy machine
            # took longer than the 30 seconds after which torchrun kills; these are exempt.
            gc.freeze()
            raise SystemExit(TERMINATED)

    def create_model_card(self, *_args: Any, **_kwargs: Any) -> None:
        """Write none: the card belongs to the export."""

    def _send_telemetry(self) -> None:
        # TRL reports its use to its makers unless told not to. Nothing leaves the machine from here.
        pass

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """Return the learning rate's schedule, see `rate`."""
        scheduler = getattr(self, "lr_scheduler", None)
        if scheduler is None:
            warmup = math.ceil(self.settings.warmup * num_training_steps)
            warmup = min(warmup, num_training_steps - 1)

            def factor(step: int) -> float:
                return self.guard.rate * rate(step, num_training_steps, warmup, self.settings.scheduler)

            scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer or self.optimizer, factor)
            self.lr_scheduler, self._created_lr_scheduler = scheduler, True
        return scheduler

    def autocast_smart_context_manager(self, *_args: Any, **_kwargs: Any) -> AbstractContextManager[None]:
        """Return the number format of passes outside the training: the rehearsal, the reference, the validation.

        It is that of the training. accelerate sees to it only once a training has begun: before, full parameters would
        be rehearsed in float32, and preferences compare bf16 with a reference in float32.
        """
        context: AbstractContextManager[None] = self.accelerator.autocast()
        return context

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """Return 0: nobody reads it, and counting parameters at every window takes time."""
        return 0

    def passed(self, step: int, loss: float, figures: Mapping[str, float]) -> dict[str, float]:
        """Show that a step is done, and return what of it belongs into its event."""
        raise NotImplementedError

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Send the figures of a step to the events and the progress bar, and have the guard judge them.

        Raises:
            Failure: the watch found what stops the training; nothing of it is saved.
        """
        loss = logs.get("loss")
        if loss is None:
            return
        step = self.state.global_step
        figures = self.step_figures()
        norm = logs.get("grad_norm", 0.0)
        entry = {"step": step, "loss": loss, "grad_norm": norm, **figures}
        if self.args.fp16 and self.accelerator.optimizer_step_was_skipped:
            # By the loss scaler. Without one DeepSpeed skips a step whose gradient is not finite too: that is a fault.
            entry["skipped"] = True
        self.state.log_history.append(entry)
        # To TensorBoard and its like, where METIER_REPORT_TO names one.
        told = {**logs, **figures}
        self.control = self.callback_handler.on_log(self.args, self.state, self.control, told)
        if self.is_world_process_zero():
            passed = self.passed(step, loss, figures)
            rounded = {"loss": _json(loss, 5), "lr": logs["learning_rate"], "grad_norm": _json(norm, 4)}
            rounded |= {name: _json(value, 5) for name, value in figures.items()}
            left_out = {"skipped": True} if "skipped" in entry else {}
            self.work.event("log", step=step, of=self.state.max_steps, **passed, **rounded, **left_out)
        self.guard.after_step(entry)

    def step_figures(self) -> dict[str, float]:
        """Return what else the last optimizer step is judged by, besides its loss: of all processes, and on all."""
        return {}

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        start = time.monotonic()
        step = self.state.global_step
        first = self.is_world_process_zero()
        try:
            if first:
                self.checkpoints.make_room()
            super()._save_checkpoint(model, trial)
            barrier()  # other processes may still be writing their parts, which the seal is to hold
            from_first(lambda: self.checkpoints.seal(step))
        except Exception as error:
            if first:
                self.checkpoints.discard(step)
            if isinstance(error, OSError) or "No space left" in str(error):
                raise  # the workshop tells of a full disk
            # torch reports one as an error of its own, without the system's number.
            raise Failure(
                f"the checkpoint of step {step} could not be written",
                found=str(error).splitlines()[0] if str(error) else type(error).__name__,
                hint="free some space and run the same command again: it goes on from the last checkpoint",
            ) from error
        self.guard.saved(step)
        self.cadence.saved(time.monotonic() - start)


class _Pace(transformers.TrainerCallback):
    """Ask for a checkpoint when the cadence says so, but not after the last step: the model itself is saved then.

    After the last step a validated training is looked at once more.
    """

    def __init__(self, cadence: Cadence, stop: Stop, validated: bool, guard: Guard) -> None:
        self._cadence, self._stop, self._validated, self._guard = cadence, stop, validated, guard

    def on_train_begin(self, args: Any, state: Any, control: Any, **_kwargs: Any) -> None:
        self._guard.begin()

    def on_step_end(self, args: Any, state: Any, control: Any, **_kwargs: Any) -> Any:
        last = state.global_step >= state.max_steps
        due = self._cadence.due(state.global_step) or self._guard.due(state.global_step)
        self._stop.asked, due = agreed(self._stop.asked, due)
        control.should_save = not last and (self._stop.asked or due)
        control.should_training_stop |= self._stop.asked
        control.should_evaluate |= last and self._validated
        return control


def _json(value: float, digits: int) -> float | None:
    """Return a number that JSON has, rounded, or None for NaN and infinity."""
    return round(value, digits) if math.isfinite(value) else None
