"""One training, whatever its method and loss: load, rehearse, train or resume, merge, save, compare."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from metier.core import Failure, Work
from metier.core.files import write_json_atomic
from metier.core.processes import Processes
from metier.train.adapt import network_for, precision_on
from metier.train.adapter import keep_adapter, merged, rows_of
from metier.train.allocator import give_back, heap_of, return_freed_memory
from metier.train.arguments import check_settings, is_first_process
from metier.train.attempt import BEGUN, events_of, its_end_told
from metier.train.checkpoint import step_of
from metier.train.distributed import dealt, from_first, layout, threads, together
from metier.train.memory import config_in
from metier.train.network import load_tokenizer
from metier.train.options import Settings
from metier.train.packing import Window
from metier.train.plan import Plan
from metier.train.rehearse import Tried, check_plan, differing, peak_memory_bytes, rehearse
from metier.train.schedule import Schedule
from metier.train.sharded import filled, whole_weights
from metier.train.trainer import Packed, PackedTrainer, longest
from metier.train.trial import Chosen, as_set, keep, kept, take, tried
from metier.train.validation import best_weights
from metier.train.watch.guard import figures as watched_figures

_CHECKPOINTS = "checkpoints"
_EMPTY = 0.2  # share of forward passes that processes wait in, beyond which it is said
_DONE = ".trained.json"  # the model is saved; hidden, so that its figures are no part of what was made

Trainers = Callable[..., Packed]


def tune(
    base: Path,
    schedule: Schedule,
    settings: Settings,
    work: Work,
    trainer_class: Trainers = PackedTrainer,
    validation: Sequence[Window] = (),
) -> None:
    """Train `base` on `schedule` and save the result to `work.folder / "model"`, an adapter to "adapter" beside it.

    A killed attempt is resumed from its newest complete checkpoint, to the same weights, bit for bit on CPU, as an
    uninterrupted run. Weights stay float32 from one training to the next; see `load_network`. Of several processes the
    first saves the model and says what there is to say; the others return when the training is done.

    Args:
        validation: windows that are not trained on, whose loss chooses the weights that are kept.

    Raises:
        Mistake: the model cannot be trained here.
        Failure: the training diverged, or the saved model is not the trained one.
    """
    with its_end_told(work):
        _tune(base, schedule, settings, work, trainer_class, validation)


def _tune(
    base: Path,
    schedule: Schedule,
    settings: Settings,
    work: Work,
    trainer_class: Trainers,
    validation: Sequence[Window],
) -> None:
    done = work.shared / _DONE
    fingerprint = schedule.fingerprint
    told = json.loads(done.read_text()) if done.is_file() else {}
    if told.get("fingerprint") != fingerprint:
        quiet()
        check_settings(settings, work.host)
        give_back()
        return_freed_memory()  # of the steps before, which this process may have made: no plan counts what they left
        torch.set_num_threads(threads(work.host))
        _warn(base, schedule, settings, work)
        _warn_of_empty(schedule, work)
        plan = check_plan(base, schedule, settings, work)
        before, whole = dict(work.figures), layout() == "whole"
        with together(work.host):
            torch.manual_seed(settings.seed)
            network = network_for(base, settings, work.host)
            figures = _train(network, load_tokenizer(base), schedule, settings, work, trainer_class, validation, plan)
            weights = {} if whole else whole_weights(network)
        _free_trainer(network)
        if not is_first_process():
            return
        if not whole:
            best = best_weights(work.shared / _CHECKPOINTS) if validation else None
            network = filled(network_for(base, settings, work.host), best or weights)
        if settings.adapter:
            keep_adapter(network, base, work.folder / "adapter")
            rows = rows_of(validation or schedule.windows)
            network = merged(network, base, work.folder / "adapter", settings, rows, work)
        save(network, load_tokenizer(base), work.folder / "model")  # as it was: TRL writes into the one it is given
        figures |= {name: value for name, value in work.figures.items() if name not in before}
        told = {"fingerprint": fingerprint, "figures": figures}
        write_json_atomic(done, told)
    if not is_first_process():
        return
    # Only now: a kill while the model is saved or its record written must not cost the training.
    shutil.rmtree(work.folder / _CHECKPOINTS, ignore_errors=True)
    for name, value in told["figures"].items():
        work.figure(name, value)


def _warn(base: Path, schedule: Schedule, settings: Settings, work: Work) -> None:
    """Say what is set in vain, and that rows are longer than what the model was made for."""
    if unheeded := settings.unheeded:
        work.warn(f"{' and '.join(unheeded)} changes nothing: the method is {settings.method}")
    windows, limit = schedule.windows, (config_in(base) or {}).get("max_position_embeddings")
    if hasattr(windows, "longest"):  # on disk, and all of about one length
        windows = [windows[longest(windows)]]
    tokens = max(block.prefix + max(block.tails, default=0) for window in windows for block in window.blocks)
    if limit is not None and tokens > limit:
        work.warn(
            f"the longest row has {tokens:,} tokens, and the model was made for {limit:,}: "
            f"set sequence_length: {limit}, or take a model that reads more"
        )


def _warn_of_empty(schedule: Schedule, work: Work) -> None:
    """Say that processes wait for the others because an optimizer step has too few windows for them."""
    order = dealt(len(schedule.windows), schedule.accumulate)
    if order and (share := order.count(None) / len(order)) > _EMPTY:
        work.warn(
            f"{share:.0%} of all forward passes are empty: an optimizer step is cut into {schedule.accumulate} for "
            f"{Processes.here().total} processes; take larger batches, a number that divides, or smaller pass_tokens"
        )


def _train(
    network: Any,
    tokenizer: Any,
    schedule: Schedule,
    settings: Settings,
    work: Work,
    trainer_class: Trainers,
    validation: Sequence[Window],
    plan: Plan | None,
) -> dict[str, Any]:
    folder = work.shared / _CHECKPOINTS
    parameters = list(network.parameters())
    # A packed 4-bit matrix counts by what it stands for.
    counts = [_values(parameter) for parameter in parameters]
    work.figure("parameters", sum(counts))
    work.figure("processes", {"total": Processes.here().total, "layout": layout()})
    work.figure("trained_parameters", sum(n for n, p in zip(counts, parameters, strict=True) if p.requires_grad))
    with work.progress("train", total=schedule.tokens, unit="tokens") as bar:

        def made(settings: Settings) -> Packed:
            trainer = trainer_class(network, tokenizer, schedule, settings, folder, work, bar, validation)
            if layout() == "whole":  # what is cut is whole again only in the trainer's hands: see `Packed.ready`
                trainer.prepare()
            return trainer

        trainer, resume, seen = _begun(made, schedule, settings, work, folder)
        if resume is None:
            work.event(BEGUN)
        trainer.look_with(tokenizer, schedule.windows, schedule.tokens)
        before = 0
        if resume is None:
            if validation and layout() == "whole":
                work.event("validation", step=0, loss=round(trainer.validation.loss(), 5))
        else:
            trainer.validation.go_on(resume)
            step = step_of(resume)
            before = schedule.tokens_by_step[step]
            work.event("resume", step=step, of=schedule.steps)
            work.say(f"going on from step {step} of {schedule.steps}")
        work.event("training", of=schedule.steps, tokens=schedule.tokens)
        bar.resume_at(before)
        start = time.monotonic()
        with heap_of(trainer, _peak(plan, seen), work) as heap:
            trainer.run(resume)
        seconds = time.monotonic() - start
    work.figure("heap", {"way": heap.way, "given_back": heap.trims})
    torch.set_num_threads(threads(work.host))
    steps = trainer.state.global_step
    if steps < schedule.steps:
        work.say(f"stopped after step {steps} of {schedule.steps}: the validation loss no longer falls")
    trainer.validation.keep_best(work)
    if trainer.noise is not None:
        trainer.noise.remove()
    work.figure("watch", watched_figures(work, trainer.guard))
    return _figures(work, trainer, schedule, (schedule.tokens_by_step[steps] - before) / seconds)


def _begun(
    made: Callable[[Settings], Packed], schedule: Schedule, settings: Settings, work: Work, folder: Path
) -> tuple[Packed, Path | None, Tried | None]:
    """Return a trainer whose passes are done as the trial chose, the checkpoint to go on from, and the rehearsal.

    A training that goes on takes the choice that it began with, and is not rehearsed again.
    """
    now, windows, seen = as_set(settings, work.host), schedule.windows, None
    before = from_first(lambda: kept(folder, schedule.fingerprint, now))
    trainer = made(before.choice.on(settings) if before else now.on(settings))
    resume = from_first(trainer.checkpoints.newest)
    if before is not None:
        take(before.choice, trainer.model, settings)
    if resume is None and layout() == "whole":
        seen = rehearse(trainer, windows)
    chosen = before or Chosen(now, {}, why="the training goes on as it began", aloud=False)
    if before is None and resume is None:
        chosen = tried(trainer, windows[longest(windows)], seen)
        if chosen.ratios and is_first_process():
            keep(folder, schedule.fingerprint, now, chosen)
        if chosen.choice.precision != now.precision:
            if trainer.noise is not None:
                trainer.noise.remove()
            trainer = made(chosen.choice.on(settings))
            seen = rehearse(trainer, windows)
    number_format = precision_on(work.host, trainer.settings.precision)
    told = chosen.choice._asdict() | {"precision": number_format}
    work.event("choice", **told, ratios=chosen.ratios, seconds=chosen.seconds, why=chosen.why)
    work.figure("choice", {**told, "ratios": chosen.ratios})
    if is_first_process() and chosen is not before and chosen.aloud:
        work.say(chosen.words(number_format))
    return trainer, resume, seen


def _peak(plan: Plan | None, seen: Tried | None) -> int | None:
    """Return the most memory that a training on cores needs at once, planned or measured; None where nobody knows."""
    if plan is None or not plan.machine.on_cores:
        return None
    return max(plan.memory.peak, seen.peak if seen else 0)


def _values(parameter: torch.nn.Parameter) -> int:
    state = getattr(parameter, "quant_state", None)
    whole = getattr(parameter, "ds_numel", None) or parameter.numel()  # of ZeRO-3 each process holds a part
    return int(state.shape.numel()) if state is not None else int(whole)


def save(network: Any, tokenizer: Any, folder: Path) -> None:
    """Write the model, its tokenizer and chat template, and read the weights back.

    Raises:
        Failure: what was read differs from what was trained.
    """
    from safetensors import safe_open

    shutil.rmtree(folder, ignore_errors=True)
    network.config.use_cache = True  # the trainers turn it off
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    trained = network.state_dict()
    read: set[str] = set()
    different: list[str] = []
    for shard in sorted(folder.glob("*.safetensors")):
        with safe_open(shard, "pt") as file:
            read.update(file.keys())
        different += differing(shard, trained.__getitem__)
    tied = set(getattr(network, "all_tied_weights_keys", None) or ())
    missing = set(trained) - read - tied
    if different or missing:
        names = ", ".join([*different, *sorted(missing)][:3])
        raise Failure(
            "the saved model is not the one that was trained",
            found=f"{len(different)} tensors differ, {len(missing)} are missing: {names}",
            hint="run again; if it stays, the disk or the memory is faulty",
        )


def quiet() -> None:
    """Silence the bars and the chatter of the libraries: what the user sees is said by the step."""
    import logging
    import warnings

    from transformers.utils import logging as chatter

    chatter.set_verbosity_error()
    chatter.disable_progress_bar()
    logging.getLogger("accelerate").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"(transformers|accelerate|torch)\.")


def _free_trainer(network: Any) -> None:
    """Give back gradients and the optimizer's state: what was read back beside them made a save the peak of it all."""
    network.zero_grad(set_to_none=True)
    return_freed_memory()


def _figures(work: Work, trainer: Packed, schedule: Schedule, tokens_per_second: float) -> dict[str, Any]:
    history = [told.loss for told in trainer.guard.trace.steps]
    last = history[-max(1, len(history) // 10) :]
    return {
        "steps": trainer.state.global_step,
        "tokens": schedule.tokens_by_step[trainer.state.global_step],
        "trained_tokens": schedule.trained_in(trainer.state.global_step),
        "tokens_per_second": round(tokens_per_second, 1),
        "train_loss": {"first": round(history[0], 4), "last": round(sum(last) / len(last), 4)},
        "peak_memory_bytes": peak_memory_bytes(work.host),
        "checkpoints_resumed_from": [event["step"] for event in events_of(work.folder, "resume")],
    }
