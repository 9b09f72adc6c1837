"""One full-parameter training, whatever its loss: load, rehearse, train or resume, save, compare."""

from __future__ import annotations

import contextlib
import ctypes
import json
import resource
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from metier.core import Artifact, Failure, Host, Work
from metier.core.files import write_json_atomic
from metier.train.checkpoint import step_of
from metier.train.memory import memory_bytes
from metier.train.network import load_network, load_tokenizer
from metier.train.rehearse import rehearse
from metier.train.schedule import Schedule
from metier.train.trainer import PackedTrainer, Settings, longest

_CHECKPOINTS = "checkpoints"
_DONE = ".trained.json"  # the model is saved; hidden, so that its figures are no part of what was made

Trainers = Callable[..., PackedTrainer]


def tune(
    base: Path, schedule: Schedule, settings: Settings, work: Work, trainer_class: Trainers = PackedTrainer
) -> None:
    """Train `base` on `schedule` and save the result to `work.folder / "model"`.

    A killed attempt is resumed from its newest complete checkpoint, to the same weights, bit for bit on CPU, as an
    uninterrupted run. Weights stay float32 from one training to the next; see `load_network`.

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
        network = load_network(base)
        _check_memory(network, schedule, work)
        figures = _train(network, schedule, settings, work, trainer_class)
        save(network, load_tokenizer(base), work.folder / "model")
        told = {"fingerprint": fingerprint, "figures": figures}
        write_json_atomic(done, told)
    # Only now: a kill while the model is saved or its record written must not cost the training.
    shutil.rmtree(work.folder / _CHECKPOINTS, ignore_errors=True)
    for name, value in told["figures"].items():
        work.figure(name, value)


def _train(network: Any, schedule: Schedule, settings: Settings, work: Work, trainer_class: Trainers) -> dict[str, Any]:
    folder = work.folder / _CHECKPOINTS
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
    return _figures(work, trainer, schedule, (schedule.tokens - before) / seconds)


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


def _figures(work: Work, trainer: PackedTrainer, schedule: Schedule, tokens_per_second: float) -> dict[str, Any]:
    history = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    last = history[-max(1, len(history) // 10) :]
    return {
        "steps": schedule.steps,
        "tokens": schedule.tokens,
        "trained_tokens": schedule.trained,
        "tokens_per_second": round(tokens_per_second, 1),
        "train_loss": {"first": round(history[0], 4), "last": round(sum(last) / len(last), 4)},
        "peak_memory_bytes": peak_memory_bytes(work.host),
        "checkpoints_resumed_from": [event["step"] for event in Artifact(work.folder).events("resume")],
    }
