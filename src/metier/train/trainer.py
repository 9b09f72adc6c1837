"""TRL's trainers, fed with packed windows, seen at work, and safe to kill.

TRL prepares no rows here and collates none: its own batches are padded rows, of which it scores every position on a
CPU, prompts and padding included. It is given the index of a window, and the loss is over trained positions only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch
import trl

from metier.core import Work
from metier.core.progress import Bar
from metier.train.adapt import precision_on
from metier.train.arguments import arguments, may_leave_out
from metier.train.base import check_ids
from metier.train.checkpoint import Checkpoints, step_of
from metier.train.collate import WindowCollator, window_indexes
from metier.train.distributed import dealt, layout
from metier.train.identity import identity_of
from metier.train.neftune import Noise, row_lengths
from metier.train.options import Settings
from metier.train.packing import Window
from metier.train.schedule import Schedule
from metier.train.sharded import rehearse_cut, save_whole
from metier.train.validation import Validation
from metier.train.watched import Watched, rate

__all__ = ["Packed", "PackedTrainer", "Settings", "longest", "rate"]


class Packed(Watched):
    """What a TRL trainer has to do differently on windows; it stands before it in a class's bases.

    The loss is the mean over all trained tokens of an optimizer step.

    Args:
        tokenizer: of the model. TRL asks for one; it is not saved with every checkpoint.
        work: where progress and events go.
        bar: counts tokens.
        validation: windows that are not trained on, whose loss chooses the weights that are kept.
    """

    loss_is_scaled_for_ga = True  # compute_loss divides by the trained tokens of the whole step
    config_class: ClassVar[Any] = trl.SFTConfig
    config_options: ClassVar[Mapping[str, Any]] = {"dataset_kwargs": {"skip_prepare_dataset": True}, "max_length": None}

    def __init__(
        self,
        network: Any,
        tokenizer: Any,
        schedule: Schedule,
        settings: Settings,
        folder: Path,
        work: Work,
        bar: Bar,
        validation: Sequence[Window] = (),
    ) -> None:
        ends = network.config.pad_token_id, network.generation_config.pad_token_id
        check_ids(network, tokenizer, schedule.windows, validation)
        config = partial(self.config_class, **self.config_options)
        super().__init__(
            model=network,
            args=arguments(
                config,
                folder,
                schedule.steps,
                schedule.accumulate,
                settings,
                work.host,
                bool(validation),
                uneven=True,
                left_out=may_leave_out(network),
            ),
            train_dataset=window_indexes(schedule.windows, dealt(len(schedule.windows), schedule.accumulate)),
            eval_dataset=window_indexes(validation) if validation else None,
            data_collator=WindowCollator(schedule.windows),
            processing_class=tokenizer,
        )
        # TRL writes the tokenizer's padding token into the model. There is no padding here, and the saved model is not
        # to differ from its base in what was not trained.
        network.config.pad_token_id, network.generation_config.pad_token_id = ends
        self.processing_class = None
        parts = schedule.parts
        data = {"rows": parts.rows, "order of the rows": parts.order, **self.more_data()}
        precision = precision_on(work.host, settings.precision)
        identity = identity_of(data, settings, work, cut=parts.cut, precision=precision)
        self.watch(settings, work, Checkpoints(folder, identity, work.warn), bool(validation))
        self.checkpoints.refuse_others()
        self.schedule, self.bar = schedule, bar
        self.validation = Validation(self, validation, folder)
        self.tokens_by_step = schedule.tokens_by_step
        self.loaded = False  # a checkpoint's weights, before `prepare`
        self.recording = True  # off where a loss is worked out that is none of the training's
        if self.args.activation_checkpointing:  # `train` does it, too late for passes that are tried before
            self.model.activation_checkpointing_enable(self.args.activation_checkpointing_kwargs)
        alpha = settings.neftune_noise_alpha
        self.noise = Noise(network.get_input_embeddings(), alpha) if alpha else None

    def more_data(self) -> dict[str, str]:
        """Return digests of what is trained on besides the windows, by what they are of."""
        return {}

    def prepare(self) -> None:
        """Do what has to be done with the base weights, before any training or resuming."""

    def _prepare_for_training(self, max_steps: int, train_dataloader: Any, resume_from_checkpoint: Any) -> Any:
        """Let the trainer cut and wrap the model; what needs it so is done right then. Called by `train`."""
        made = super()._prepare_for_training(max_steps, train_dataloader, resume_from_checkpoint)
        if layout() != "whole":
            self.loaded = resume_from_checkpoint is not None
            self.prepare()
            if resume_from_checkpoint is None:
                rehearse_cut(self, self.schedule.windows[longest(self.schedule.windows)])
                if self.validation.windows:
                    self.work.event("validation", step=0, loss=round(self.validation.loss(), 5))
            if self.guard.looks is not None:
                self.guard.looks.begin(step_of(Path(resume_from_checkpoint)) if resume_from_checkpoint else 0)
        return made

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Write the model; of one that is cut the trained weights, put together, and none beside a checkpoint's own."""
        if layout() == "whole":
            super().save_model(output_dir, _internal_call)
        elif not _internal_call:
            save_whole(self.model, Path(output_dir or self.args.output_dir))

    def _get_train_sampler(self, train_dataset: Any = None) -> torch.utils.data.Sampler[int]:
        # The schedule is already in order: what is trained when depends on nothing but the rows and the seed.
        return torch.utils.data.SequentialSampler(self.train_dataset)

    def passed(self, step: int, loss: float, figures: Mapping[str, float]) -> dict[str, float]:
        """Move the bar on by the tokens of a step, and return how many there are up to it."""
        tokens = self.tokens_by_step[step]
        self.bar.advance(tokens - self.tokens_by_step[step - 1], loss=loss, **figures)
        return {"tokens": tokens}

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
        if self.noise is not None:
            self.noise.lengths_T = row_lengths(inputs["blocks"])
        result: torch.Tensor = model(
            **{name: inputs[name] for name in ("input_ids", "position_ids", "targets", "blocks")}
        )
        return result

    def evaluate(self, *_args: Any, **_kwargs: Any) -> dict[str, float]:
        """Return the loss on the validation windows as the trainers name it; the weights are kept if it is the best."""
        metrics = {"eval_loss": self.validation.look()}
        self.state.log_history.append({"step": self.state.global_step, **metrics})
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        self.control.should_training_stop |= self.validation.stale(self.settings.patience)
        return metrics


class PackedTrainer(Packed, trl.SFTTrainer):
    """TRL's SFT trainer on windows."""


def longest(windows: Sequence[Any]) -> int:
    """Return the index of the window that needs most memory: most trained tokens weigh more than most tokens."""
    if isinstance(told := getattr(windows, "longest", None), int):  # windows on disk know it without being read
        return told
    # A trained position keeps a row of the vocabulary, any position some dozens of hidden states.
    return max(range(len(windows)), key=lambda index: len(windows[index].ids) + 4 * windows[index].trained)
