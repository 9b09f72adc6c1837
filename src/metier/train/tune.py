"""One full-parameter training, whatever its loss: load, rehearse, train or resume, save, compare."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from metier.core import Artifact, Failure, Host, Work
from metier.train.checkpoint import step_of
from metier.train.memory import memory_bytes
from metier.train.network import load_network, load_tokenizer
from metier.train.rehearse import rehearse
from metier.train.schedule import Schedule
from metier.train.trainer import PackedTrainer, Settings, longest

Trainers = Callable[..., PackedTrainer]


def tune(
    base: Path, schedule: Schedule, settings: Settings, work: Work, trainer_class: Trainers = PackedTrainer
) -> PackedTrainer:
    """Train `base` on `schedule` and save the result to `work.folder / "model"`.

    A killed attempt is resumed from its newest complete checkpoint, to the same weights, bit for bit on CPU, as an
    uninterrupted run. Weights stay float32 from one training to the next; see `load_network`.

    Raises:
        Mistake: the model cannot be trained here.
        Failure: the training diverged, or the saved model is not the trained one.
    """
    quiet()
    torch.set_num_threads(work.host.threads)
    torch.manual_seed(settings.seed)
    network = load_network(base)
    folder = work.folder / "checkpoints"
    _check_memory(network, schedule, work)
    with work.progress("train", total=schedule.tokens, unit="tokens") as bar:
        trainer = trainer_class(network, schedule, settings, folder, work, bar)
        trainer.prepare()
        resume, before = trainer.checkpoints.newest(), 0
        if resume is None:
            rehearse(trainer, schedule.windows)
        else:
            step = step_of(resume)
            before = schedule.tokens_by_step[step]
            work.event("resume", step=step, of=schedule.steps)
            work.say(f"going on from step {step} of {schedule.steps}")
        bar.resume_at(before)
        start = time.monotonic()
        trainer.train(resume_from_checkpoint=str(resume) if resume else None)
        seconds = time.monotonic() - start
    save(network, load_tokenizer(base), work.folder / "model")
    trainer.checkpoints.clear()
    _figures(work, trainer, schedule, (schedule.tokens - before) / seconds)
    return trainer


def save(network: Any, tokenizer: Any, folder: Path) -> None:
    """Write the model, its tokenizer and chat template, and read the weights back.

    Raises:
        Failure: what was read differs from what was trained, or the disk refused it.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    network.config.use_cache = True  # the trainers turn it off
    try:
        network.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    except SafetensorError as error:
        raise Failure("the model could not be saved", found=str(error), hint="free some space and run again") from error
    trained = network.state_dict()
    read: dict[str, torch.Tensor] = {}
    for shard in sorted(folder.glob("*.safetensors")):
        read.update(load_file(shard))
    different = [name for name, value in read.items() if not torch.equal(value, trained[name].cpu())]
    tied = set(getattr(network, "all_tied_weights_keys", None) or ())
    missing = set(trained) - set(read) - tied
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


def peak_memory_bytes(host: Host) -> int:
    """Return the most memory used so far, of the GPU where there is one, else of this process."""
    if host.gpus and torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _check_memory(network: Any, schedule: Schedule, work: Work) -> None:
    window = schedule.windows[longest(schedule.windows)]
    try:
        needed = memory_bytes(network.config.get_text_config().to_dict(), len(window.ids), window.trained)
    except KeyError:  # not shaped like a Llama
        return
    there = max((gpu.memory_bytes for gpu in work.host.gpus), default=work.host.memory_bytes)
    work.figure("predicted_memory_bytes", needed)
    if needed > there:
        work.warn(f"this training needs about {needed / 1e9:.1f} GB of memory, and there are {there / 1e9:.1f} GB")


def _figures(work: Work, trainer: PackedTrainer, schedule: Schedule, tokens_per_second: float) -> None:
    history = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    last = history[-max(1, len(history) // 10) :]
    resumed = Artifact(work.folder).events("resume")
    work.figure("steps", schedule.steps)
    work.figure("tokens", schedule.tokens)
    work.figure("trained_tokens", schedule.trained)
    work.figure("tokens_per_second", round(tokens_per_second, 1))
    work.figure("train_loss", {"first": round(history[0], 4), "last": round(sum(last) / len(last), 4)})
    work.figure("peak_memory_bytes", peak_memory_bytes(work.host))
    work.figure("checkpoints_resumed_from", [event["step"] for event in resumed])
