"""The trainer: transformers' own, fed with packed windows, seen at work, and safe to kill.

It is transformers' `Trainer` and not TRL's `SFTTrainer`, which on CPU scores every position of a batch, prompts and
padding included, nor its `DPOTrainer`, whose batches are padded rows and not windows that share prompts.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
import transformers
from transformers.trainer_callback import PrinterCallback

from metier.core import Failure, Host, Work
from metier.core.progress import Bar
from metier.train.checkpoint import Cadence, Checkpoints
from metier.train.collate import Windows, collate
from metier.train.network import bf16_pays
from metier.train.schedule import Schedule


class Settings(NamedTuple):
    """What the optimizer needs, from a step's fields. warmup: share of the steps over which the rate rises."""

    learning_rate: float
    warmup: float
    weight_decay: float
    seed: int


def rate(step: int, steps: int, warmup: int) -> float:
    """Return the factor of the learning rate at `step`, counted from 0: a linear rise, then a cosine.

    Unlike transformers' own it is never 0: with some dozens of steps, a step at rate 0 is a loss.
    """
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


class PackedTrainer(transformers.Trainer):
    """Train on windows; the loss is the mean over all trained tokens of an optimizer step.

    Args:
        work: where progress and events go.
        bar: counts tokens.
    """

    loss_is_scaled_for_ga = True  # compute_loss divides by the trained tokens of the whole step

    def __init__(
        self, network: Any, schedule: Schedule, settings: Settings, folder: Path, work: Work, bar: Bar
    ) -> None:
        super().__init__(
            model=network,
            args=arguments(folder, schedule, settings, work.host),
            train_dataset=Windows(schedule.windows),
            data_collator=collate,
        )
        self.cadence = Cadence()
        self.remove_callback(PrinterCallback)
        self.add_callback(_SaveWhenDue(self.cadence))
        self.schedule, self.settings, self.work, self.bar = schedule, settings, work, bar
        self.tokens_by_step = schedule.tokens_by_step
        self.checkpoints = Checkpoints(folder, schedule.fingerprint)

    def prepare(self) -> None:
        """Do what has to be done with the base weights, before any training or resuming."""

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """Return the learning rate's schedule, see `rate`."""
        scheduler = getattr(self, "lr_scheduler", None)
        if scheduler is None:
            warmup = math.ceil(self.settings.warmup * num_training_steps)
            factor = partial(rate, steps=num_training_steps, warmup=min(warmup, num_training_steps - 1))
            scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer or self.optimizer, factor)
            self.lr_scheduler, self._created_lr_scheduler = scheduler, True
        return scheduler

    def _get_train_sampler(self, train_dataset: Any = None) -> torch.utils.data.Sampler[int]:
        # The schedule is already in order: what is trained when depends on nothing but the rows and the seed.
        return torch.utils.data.SequentialSampler(self.train_dataset)

    def weight_of(self, inputs: dict[str, Any]) -> int:
        """How much a window counts in the mean of its optimizer step: its trained tokens."""
        return int((inputs["targets"] >= 0).sum())

    def get_batch_samples(self, epoch_iterator: Any, num_batches: int, device: torch.device) -> tuple[list[Any], Any]:
        """Return the windows of the next optimizer step and the weight of them all, on all processes."""
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        total = torch.tensor(sum(map(self.weight_of, batches)), device=device)
        if self.args.world_size > 1:
            total = self.accelerator.gather(total).sum()
        return batches, total

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Return this window's share of the step's mean loss."""
        log_p_N = self.log_probabilities(model, inputs)
        # Processes average their gradients, and the weight counts the tokens of all of them.
        return -log_p_N.sum() / num_items_in_batch * self.accelerator.num_processes

    def log_probabilities(self, model: Any, inputs: dict[str, Any]) -> torch.Tensor:
        """Return the log-probabilities of the window's trained tokens, [N]."""
        result: torch.Tensor = model(
            **{name: inputs[name] for name in ("input_ids", "position_ids", "targets", "blocks")}
        )
        return result

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """Return 0: nobody reads it, and counting parameters at every window takes time."""
        return 0

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Send the figures of a step to the events and the progress bar.

        Raises:
            Failure: the loss or the gradient is not finite; nothing of it is saved.
        """
        loss = logs.get("loss")
        if loss is None:
            return
        step = self.state.global_step
        if not math.isfinite(loss) or not math.isfinite(logs.get("grad_norm", 0.0)):
            raise Failure(
                f"the training diverged at step {step} of {self.state.max_steps}",
                found=f"loss {loss}, gradient norm {logs.get('grad_norm')}",
                hint="lower the learning rate, and look for broken rows",
            )
        tokens = self.tokens_by_step[step]
        figures = self.step_figures()
        self.work.event(
            "log",
            step=step,
            tokens=tokens,
            loss=round(loss, 5),
            lr=logs["learning_rate"],
            grad_norm=round(logs.get("grad_norm", 0.0), 4),
            **{name: round(value, 5) for name, value in figures.items()},
        )
        self.bar.advance(tokens - self.tokens_by_step[step - 1], loss=loss, **figures)
        self.state.log_history.append({"step": step, "loss": loss, **figures})

    def step_figures(self) -> dict[str, float]:
        """Return what else the last optimizer step is judged by, besides its loss."""
        return {}

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        start = time.monotonic()
        step = self.state.global_step
        self.checkpoints.make_room()
        try:
            super()._save_checkpoint(model, trial)
            self.checkpoints.seal(step)
        except Exception as error:
            self.checkpoints.discard(step)
            if isinstance(error, OSError) or "No space left" in str(error):
                raise  # the workshop tells of a full disk
            # torch reports one as an error of its own, without the system's number.
            raise Failure(
                f"the checkpoint of step {step} could not be written",
                found=str(error).splitlines()[0] if str(error) else type(error).__name__,
                hint="free some space and run the same command again: it goes on from the last checkpoint",
            ) from error
        self.cadence.saved(time.monotonic() - start)


class _SaveWhenDue(transformers.TrainerCallback):
    """Ask for a checkpoint when the cadence says so, but not after the last step: the model itself is saved then."""

    def __init__(self, cadence: Cadence) -> None:
        self._cadence = cadence

    def on_step_end(self, args: Any, state: Any, control: Any, **_kwargs: Any) -> Any:
        control.should_save = state.global_step < state.max_steps and self._cadence.due()
        return control


def arguments(folder: Path, schedule: Schedule, settings: Settings, host: Host) -> transformers.TrainingArguments:
    """Return the trainers' arguments for a full-parameter training with AdamW."""
    gpu = bool(host.gpus) and torch.cuda.is_available()
    return transformers.TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=1,
        gradient_accumulation_steps=schedule.accumulate,
        num_train_epochs=1,  # the schedule holds the windows of all epochs
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        optim="adamw_torch_fused",
        max_grad_norm=1.0,
        bf16=bf16_pays(host),
        use_cpu=not gpu,
        seed=settings.seed,
        data_seed=settings.seed,
        gradient_checkpointing=False,
        dataloader_pin_memory=gpu,
        remove_unused_columns=False,
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="no",  # _SaveWhenDue decides
        report_to="none",
        disable_tqdm=True,
    )


def longest(windows: Sequence[Any]) -> int:
    """Return the index of the window that needs most memory: most trained tokens weigh more than most tokens."""
    if isinstance(told := getattr(windows, "longest", None), int):  # windows on disk know it without being read
        return told
    # A trained position keeps a row of the vocabulary, any position some dozens of hidden states.
    return max(range(len(windows)), key=lambda index: len(windows[index].ids) + 4 * windows[index].trained)
