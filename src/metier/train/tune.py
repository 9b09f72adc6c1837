"""One training, whatever its method and loss: load, rehearse, train or resume, merge, save, compare."""

from __future__ import annotations

import contextlib
import ctypes
import json
import resource
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from metier.core import Artifact, Failure, Host, Mistake, Work
from metier.core.files import write_json_atomic
from metier.train.adapt import network_for
from metier.train.adapter import keep_adapter, merged, rows_of
from metier.train.arguments import is_first_process
from metier.train.checkpoint import step_of
from metier.train.memory import plan_of
from metier.train.network import load_tokenizer
from metier.train.options import Settings
from metier.train.packing import Window
from metier.train.rehearse import rehearse
from metier.train.schedule import Schedule
from metier.train.trainer import Packed, PackedTrainer, longest

_CHECKPOINTS = "checkpoints"
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
    done = work.folder / _DONE
    fingerprint = schedule.fingerprint
    told = json.loads(done.read_text()) if done.is_file() else {}
    if told.get("fingerprint") != fingerprint:
        quiet()
        _return_freed_memory()
        torch.set_num_threads(work.host.threads)
        torch.manual_seed(settings.seed)
        network = network_for(base, settings, work.host)
        _check_memory(network, schedule, settings, work)
        before = dict(work.figures)
        figures = _train(network, load_tokenizer(base), schedule, settings, work, trainer_class, validation)
        if not is_first_process():
            return
        if settings.adapter:
            keep_adapter(network, base, work.folder / "adapter")
            rows = rows_of(validation or schedule.windows)
            network = merged(network, base, work.folder / "adapter", settings, rows, work)
        save(network, load_tokenizer(base), work.folder / "model")  # as it was: TRL writes into the one it is given
        figures |= {name: value for name, value in work.figures.items() if name not in before}
        told = {"fingerprint": fingerprint, "figures": figures}
        write_json_atomic(done, told)
    # Only now: a kill while the model is saved or its record written must not cost the training.
    shutil.rmtree(work.folder / _CHECKPOINTS, ignore_errors=True)
    for name, value in told["figures"].items():
        work.figure(name, value)


def _train(
    network: Any,
    tokenizer: Any,
    schedule: Schedule,
    settings: Settings,
    work: Work,
    trainer_class: Trainers,
    validation: Sequence[Window],
) -> dict[str, Any]:
    folder = work.folder / _CHECKPOINTS
    parameters = list(network.parameters())
    # A packed 4-bit matrix counts by what it stands for.
    counts = [_values(parameter) for parameter in parameters]
    work.figure("parameters", sum(counts))
    work.figure("trained_parameters", sum(n for n, p in zip(counts, parameters, strict=True) if p.requires_grad))
    with work.progress("train", total=schedule.tokens, unit="tokens") as bar:
        trainer = trainer_class(network, tokenizer, schedule, settings, folder, work, bar, validation)
        trainer.prepare()
        resume, before = trainer.checkpoints.newest(), 0
        if resume is None:
            rehearse(trainer, schedule.windows)
            if validation:
                work.event("validation", step=0, loss=round(trainer.validation.loss(), 5))
        else:
            step = step_of(resume)
            before = schedule.tokens_by_step[step]
            work.event("resume", step=step, of=schedule.steps)
            work.say(f"going on from step {step} of {schedule.steps}")
        bar.resume_at(before)
        start = time.monotonic()
        trainer.run(resume)
        seconds = time.monotonic() - start
    steps = trainer.state.global_step
    if steps < schedule.steps:
        work.say(f"stopped after step {steps} of {schedule.steps}: the validation loss no longer falls")
    trainer.validation.keep_best(work)
    if trainer.noise is not None:
        trainer.noise.remove()
    return _figures(work, trainer, schedule, (schedule.tokens_by_step[steps] - before) / seconds)


def _values(parameter: torch.nn.Parameter) -> int:
    state = getattr(parameter, "quant_state", None)
    return int(state.shape.numel()) if state is not None else parameter.numel()


def save(network: Any, tokenizer: Any, folder: Path) -> None:
    """Write the model, its tokenizer and chat template, and read the weights back.

    Raises:
        Failure: what was read differs from what was trained.
    """
    from safetensors.torch import load_file

    shutil.rmtree(folder, ignore_errors=True)
    network.config.use_cache = True  # the trainers turn it off
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
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


def _return_freed_memory() -> None:
    """Tell glibc to give large blocks back to the system when they are freed.

    Windows differ in length, so its heap is left with holes that no next tensor fits: a training that needs 4 GB
    was seen to hold 7.6 GB after half an hour. Elsewhere than on glibc nothing is done.
    """
    m_mmap_threshold = -3  # mallopt(3); setting it also ends its growth with every freed block
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").mallopt(m_mmap_threshold, 4 << 20)


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


def _check_memory(network: Any, schedule: Schedule, settings: Settings, work: Work) -> None:
    window = schedule.windows[longest(schedule.windows)]
    try:
        needed = plan_of(
            network.config.get_text_config().to_dict(),
            work.host,
            window=len(window.ids),
            trained=window.trained,
            method=settings.method,
            precision=settings.precision,
            gradient_checkpointing=settings.gradient_checkpointing,
            rank=settings.lora.rank,
            trained_layers=settings.trained_layers,
            optimizer=settings.optimizer,
        ).memory.peak
    except Mistake:  # not shaped like a language model that is known
        return
    there = max((gpu.memory_bytes for gpu in work.host.gpus), default=work.host.memory_bytes)
    work.figure("predicted_memory_bytes", needed)
    if needed > there:
        work.warn(f"this training needs about {needed / 1e9:.1f} GB of memory, and there are {there / 1e9:.1f} GB")


def _figures(work: Work, trainer: Packed, schedule: Schedule, tokens_per_second: float) -> dict[str, Any]:
    history = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    last = history[-max(1, len(history) // 10) :]
    return {
        "steps": trainer.state.global_step,
        "tokens": schedule.tokens_by_step[trainer.state.global_step],
        "trained_tokens": schedule.trained,
        "tokens_per_second": round(tokens_per_second, 1),
        "train_loss": {"first": round(history[0], 4), "last": round(sum(last) / len(last), 4)},
        "peak_memory_bytes": peak_memory_bytes(work.host),
        "checkpoints_resumed_from": [event["step"] for event in Artifact(work.folder).events("resume")],
    }
