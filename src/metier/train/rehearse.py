"""Before step 1: the plan is held against the machine, then the longest real batch is tried, an evaluation and a save.

What does not fit, foretold or measured, is refused with the next smaller plan, as fields to paste.
"""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

import torch

from metier.core import Failure, Host, Mistake, Work
from metier.train.allocator import return_freed_memory
from metier.train.collate import collate
from metier.train.memory import config_in, plan_of
from metier.train.options import Settings
from metier.train.packing import Window
from metier.train.plan import Plan, check, next_smaller
from metier.train.plan.choose import loading_words
from metier.train.plan.memory import CONTEXT
from metier.train.plan.smaller import fields_of
from metier.train.plan.table import recipe_words
from metier.train.schedule import Schedule
from metier.train.trainer import Packed, longest

TRUST = "METIER_REHEARSAL"
"""Set to `measured`, what does not fit by the numbers is only warned of: what runs out of memory decides."""

_PIECE = 1 << 26  # bytes of a block of what stands for the optimizer's state
_CLEAR_PEAK = "5"  # proc(5): written to clear_refs, it sets the peak of the resident set to what is resident now


class Tried(NamedTuple):
    """What the rehearsal saw. before, peak: bytes in use before it, and at most. loss: of the largest window.

    tokens, seconds: of that window, and of its pass forward and backward, the first of all passes.
    """

    before: int
    peak: int
    loss: float
    evaluation: float | None
    tokens: int
    seconds: float


def foretold(
    config: dict[str, Any] | None, windows: Sequence[Window], accumulate: int, settings: Settings, host: Host
) -> Plan | None:
    """Return the plan of a training on `windows`, or None where the model's shape is not known."""
    if config is None:
        return None
    window = windows[longest(windows)]
    known = windows if isinstance(windows, list) else [window]  # others are read from disk, and are as long
    row = max(block.length for one in known for block in one.blocks)
    try:
        return plan_of(
            config,
            host,
            window=len(window.ids),
            trained=max(1, window.trained),
            longest=row,
            training=settings,
            accumulate=accumulate,
            here=True,
        )
    except Mistake:  # not shaped like a language model that is known
        return None


def check_plan(base: Path, schedule: Schedule, settings: Settings, work: Work) -> Plan | None:
    """Hold the plan of a training against this machine, before the model is loaded, and return it where there is one.

    Raises:
        Mistake: it does not fit; with the next smaller plan. With METIER_REHEARSAL=measured it is a warning.
    """
    plan = foretold(config_in(base), schedule.windows, schedule.accumulate, settings, work.host)
    if plan is None:
        return None
    work.figure("predicted_memory_bytes", plan.memory.peak)
    there = plan.machine.memory
    if plan.memory.peak <= there and plan.memory.node <= plan.machine.ram:
        if plan.warning:
            work.warn(plan.warning)
        return plan
    found = f"about {plan.memory.peak / 1e9:.1f} GB are needed, and there are {there / 1e9:.1f} GB"
    if plan.memory.peak <= there:
        needed, ram = plan.memory.host / 1e9, plan.machine.ram / 1e9
        found = f"about {needed:.1f} GB are needed beside the GPUs, and this machine has {ram:.1f} GB"
        if plan.memory.host <= plan.machine.ram:
            found = f"about {loading_words(plan.layout, plan.memory, plan.machine)}"
    _refuse(refusal(plan, f"on paper {found}"), work)
    return plan


def _refuse(refused: Mistake, work: Work) -> None:
    """Raise a refusal with the way around it, or warn where that was taken."""
    if os.environ.get(TRUST) == "measured":
        work.warn(f"{refused.what}: {refused.found}")
        return
    refused.hint = f"{refused.hint}; {TRUST}=measured tries it all the same"
    raise refused


def refusal(plan: Plan, found: str, measured: int | None = None) -> Mistake:
    """Return the Mistake of a training that does not fit, whose hint is the next smaller plan, ready to paste."""
    place = "this machine" if plan.machine.on_cores or plan.lacking == "host" else "the GPU"
    what = f"this training does not fit the memory of {place}"
    smaller = next_smaller(plan, measured)
    if smaller is None:
        return Mistake(what, found, "no smaller plan fits: take a smaller model, or a machine with more memory")
    need = f"{smaller.memory.peak / 1e9:.1f} GB"
    fields = fields_of(smaller)
    told = [f"set in the recipe {recipe_words(fields)}"] if fields else []
    if "sharding" in smaller.changes:
        told.append(f"start it as {smaller.layout.name}, with the files that `metier plan --model ... --write` makes")
    return Mistake(what, found, f"{' and '.join(told)}: needs about {need}")


def rehearse(trainer: Packed, windows: Sequence[Window]) -> Tried | None:
    """Try what could fail an hour later. Leaves weights, gradients, optimizer and random state as they were.

    The largest window forward and backward beside what stands for the optimizer's state and, where passes accumulate,
    gradients; the largest window of the validation; one save and reload. Weights that only the training's beginning
    puts on their device are not passed through here.

    Returns: what was seen, or None where there was no pass.

    Raises:
        Failure: the loss of the largest window is not finite, or weights do not survive saving.
        Mistake: it does not fit the memory; with the next smaller plan. With METIER_REHEARSAL=measured only what the
            system had no memory for.
    """
    start = time.monotonic()
    window = windows[longest(windows)]
    config = trainer.model.config.get_text_config().to_dict()
    plan = foretold(config, windows, trainer.schedule.accumulate, trainer.settings, trainer.work.host)
    told: dict[str, Any] = {"tokens": len(window.ids)}
    seen = None
    if next(trainer.model.parameters()).device.type == torch.device(trainer.args.device).type:
        try:
            seen = _try(trainer, window, plan)
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if not _out_of_memory(error):
                raise
            raise _too_large(plan, error) from error
        told |= _compare(seen, plan, trainer.work)
        if not torch.isfinite(torch.tensor(seen.loss)):
            raise Failure(
                "the loss is not finite before the first step",
                found=f"{seen.loss} on {', '.join(window.names[:3])}",
                hint="look at these rows, and at the base model",
            )
    _save_and_reload(trainer)
    return_freed_memory()
    seconds = time.monotonic() - start
    trainer.work.event("rehearsal", **told, seconds=round(seconds, 3))
    if trainer.is_world_process_zero():
        trainer.work.say(_words(told, seconds))
    return seen


@contextlib.contextmanager
def untouched(trainer: Packed) -> Iterator[None]:
    """Leave modes, gradients, figures and random state as they were, whatever passes are done inside."""
    devices = list(range(torch.cuda.device_count())) if trainer.work.host.gpus else []
    modes = [(part, part.training) for part in trainer.model.modules()]
    trainer.recording = False
    try:
        with torch.random.fork_rng(devices):
            yield
    finally:
        trainer.model.zero_grad(set_to_none=True)
        for part, training in modes:
            part.training = training
        trainer.recording = True


def pass_through(trainer: Packed, window: Window, number_format: AbstractContextManager[None]) -> float:
    """Do one pass, forward in a number format and backward, and return the loss."""
    inputs = trainer._prepare_inputs(collate([window]))
    with number_format:
        loss = trainer.compute_loss(trainer.model, inputs, num_items_in_batch=trainer.weight_of(inputs))
    loss.backward()
    return float(loss.detach())


def _try(trainer: Packed, window: Window, plan: Plan | None) -> Tried:
    host, model, evaluation = trainer.work.host, trainer.model, None
    with untouched(trainer):
        before = reset_peak(host)
        states = _states(trainer, plan)
        model.train()  # activations are worked out twice only in training, which is what the memory has to hold
        start = time.perf_counter()
        # Not the number format of `compute_loss_context_manager`, which is that of passes outside the training.
        value = pass_through(trainer, window, trainer.accelerator.autocast())
        seconds = time.perf_counter() - start
        del states
        model.zero_grad(set_to_none=True)
        if trainer.validation.windows:
            evaluation = _evaluate(trainer)
        return Tried(before, peak_memory_bytes(host), value, evaluation, len(window.ids), seconds)


def _evaluate(trainer: Packed) -> float:
    """Return the loss of the largest window of the validation."""
    windows = trainer.validation.windows
    inputs = trainer._prepare_inputs(collate([windows[longest(windows)]]))
    trainer.model.eval()
    with torch.no_grad(), trainer.compute_loss_context_manager():
        loss = trainer.compute_loss(trainer.model, inputs, num_items_in_batch=trainer.weight_of(inputs))
    return float(loss)


def _states(trainer: Packed, plan: Plan | None) -> list[torch.Tensor]:
    """Hold as much as the optimizer's state will take and, where passes accumulate, make the gradients of one."""
    trained = [parameter for parameter in trainer.model.parameters() if parameter.requires_grad]
    device = trained[0].device
    wanted = plan.memory.optimizer if plan else 8 * sum(parameter.numel() for parameter in trained)
    # Written to, as memory that never was is not taken.
    held = [
        torch.empty(min(_PIECE, wanted - done), dtype=torch.uint8, device=device).fill_(1)
        for done in range(0, wanted, _PIECE)
    ]
    if plan and plan.layout.accumulation(plan.job) > 1 and plan.layout.sharding in ("none", "ddp"):
        for parameter in trained:
            parameter.grad = torch.empty_like(parameter).fill_(0)
    return held


def _compare(seen: Tried, plan: Plan | None, work: Work) -> dict[str, Any]:
    """Return predicted and measured bytes. Raises Mistake if the measured ones do not fit, unless it is to be tried."""
    told: dict[str, Any] = {"loss": seen.loss, "measured_bytes": seen.peak}
    if seen.evaluation is not None:
        told["evaluation_loss"] = seen.evaluation
    if plan is None:
        return told
    memory, machine = plan.memory, plan.machine
    # The program itself, and the weights, are there before and after: what is foretold is what comes on top.
    predicted = seen.before + memory.peak - memory.overhead - memory.parameters
    available = machine.memory if machine.on_cores else machine.memory - CONTEXT
    found = check(predicted, seen.peak, available)
    if not found.fits:
        # It ran, with less left over than the libraries may want, or into the swap.
        _refuse(refusal(plan, found.words, max(seen.peak, plan.memory.peak)), work)
    return told | {"predicted_bytes": predicted, "available_bytes": available, "error": round(found.error, 4)}


def _too_large(plan: Plan | None, error: BaseException) -> Mistake:
    found = str(error).splitlines()[0] if str(error) else type(error).__name__
    if plan is None:
        return Mistake(
            "the longest window does not fit the memory",
            found,
            "set pass_tokens lower, gradient_checkpointing: true, or method: lora",
        )
    # It is not known how much more was wanted: as much as there is, and a tenth.
    return refusal(plan, found, max(plan.memory.peak, int(1.1 * plan.machine.memory)))


def _out_of_memory(error: BaseException) -> bool:
    """Whether torch found no memory: on cores it says so in a RuntimeError like any other."""
    kinds = (torch.OutOfMemoryError, MemoryError)
    return isinstance(error, kinds) or any(
        word in str(error) for word in ("can't allocate memory", "out of memory", "not enough memory")
    )


def _words(told: dict[str, Any], seconds: float) -> str:
    words = f"rehearsal in {seconds:.0f} s: a pass of {told['tokens']:,} tokens, a save and a reload"
    if "predicted_bytes" in told:
        compared = check(told["predicted_bytes"], told["measured_bytes"], told["available_bytes"])
        return f"{words}; {compared.words}"
    if "measured_bytes" in told:
        return f"{words}; peak memory {told['measured_bytes'] / 1e9:.2f} GB"
    return f"a save and a reload in {seconds:.0f} s; the pass is tried when the weights are on their devices"


def _save_and_reload(trainer: Packed) -> None:
    if not trainer.is_world_process_zero():  # of several processes with the same weights the first saves
        return
    folder = trainer.checkpoints.folder / "rehearsal"
    shutil.rmtree(folder, ignore_errors=True)
    trainer.save_model(str(folder))
    weights = trainer.model.state_dict()
    if trainer.settings.adapter:
        import peft

        weights = peft.get_peft_model_state_dict(trainer.model, save_embedding_layers=False)
    if not trainer.is_world_process_zero():  # the first process wrote it, and may still be at it
        return
    for shard in folder.glob("*.safetensors"):
        if different := differing(shard, weights.__getitem__):
            raise Failure(f"'{different[0]}' does not survive saving and loading", hint=f"check the disk of {folder}")
    shutil.rmtree(folder, ignore_errors=True)


def differing(shard: Path, weight: Callable[[str], torch.Tensor]) -> list[str]:
    """Return the names of the tensors of a file that are not what `weight` says, read one at a time.

    The file is opened anew for each: as long as it is open, the pages that were read count as memory of the process.
    """
    from safetensors import safe_open

    with safe_open(shard, "pt") as file:
        names = list(file.keys())
    found = []
    for name in names:
        with safe_open(shard, "pt") as file:
            if not torch.equal(file.get_tensor(name), weight(name).cpu()):
                found.append(name)
    return found


def reset_peak(host: Host) -> int:
    """Begin to measure the peak anew, where the system allows it; return the bytes in use now."""
    if host.gpus and torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    try:
        Path("/proc/self/clear_refs").write_text(_CLEAR_PEAK)
        words = Path("/proc/self/status").read_text().split("VmRSS:")[1].split()
        return int(words[0]) * 1024
    except (OSError, IndexError):  # not on Linux: the peak so far stands for both
        return peak_memory_bytes(host)


def peak_memory_bytes(host: Host) -> int:
    """Return the most memory used so far, of the GPU where there is one, else of this process."""
    if host.gpus and torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
