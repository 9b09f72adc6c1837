"""One training on several processes: who cuts what, and what they agree on.

How the work is laid out is said by accelerate's own variables, which `accelerate launch` sets from its configuration
and which `environment.sh` of a plan holds for every other launcher. Nothing of it is a field of a step.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import torch

from metier.core import Host, Mistake
from metier.core.processes import OtherEnded, Processes

Value = TypeVar("Value")

_PATIENCE = timedelta(minutes=30)
"""How long a process on a GPU waits for the others: as long as gloo does on cores."""

_ENDED = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "remote process", "Timed out waiting")


def layout() -> str:
    """Return how weights and moments are cut over the processes: "whole", "fsdp2" or "zero-1" to "zero-3".

    Raises:
        Mistake: accelerate is told to do it in a way that these trainers do not know.
    """
    if _told("ACCELERATE_USE_DEEPSPEED"):
        return f"zero-{zero_stage()}"
    if _told("ACCELERATE_USE_FSDP"):
        version = os.environ.get("FSDP_VERSION", "1")
        if version != "2":
            raise Mistake(
                "FSDP is supported in its second version only",
                found=f"FSDP_VERSION={version}",
                hint="set fsdp_version: 2 in accelerate's configuration; `metier plan --write` does",
            )
        return "fsdp2"
    return "whole"


def cut() -> str:
    """Return what a checkpoint depends on: the layout, of ZeRO with its number of processes."""
    found, total = layout(), Processes.here().total
    return f"{found} on {total} processes" if found.startswith("zero") else found


def sharded() -> bool:
    """Whether no process holds the whole weights while it trains: each forward pass then takes all of them."""
    return layout() in ("zero-3", "fsdp2")


def zero_stage() -> int:
    """Return the stage of ZeRO that the environment asks for. Raises Mistake if its configuration cannot be read."""
    told = _zero_configuration().get("zero_optimization", {}).get("stage")
    return int(told if told is not None else os.environ.get("ACCELERATE_DEEPSPEED_ZERO_STAGE", "2"))


def _zero_configuration() -> dict[str, Any]:
    path = os.environ.get("ACCELERATE_DEEPSPEED_CONFIG_FILE", "none")
    if path == "none":
        return {}
    try:
        told: dict[str, Any] = json.loads(Path(path).read_text())
    except (OSError, ValueError) as error:
        raise Mistake(
            "DeepSpeed's configuration cannot be read",
            found=f"{path}: {error}",
            hint="start it in the folder that `metier plan --write` made, or give the file's whole path",
        ) from error
    return told


def _told(name: str) -> bool:
    return os.environ.get(name, "false").lower() in ("true", "1", "yes")


@contextmanager
def together(host: Host) -> Iterator[None]:
    """Join the processes of a training; and leave nothing that a next training, or a step of one process, would meet.

    Raises:
        Mistake: DeepSpeed is asked for and not installed. OtherEnded: another process of the training did.
    """
    if Processes.here().total == 1 and layout() == "whole":
        yield
        return
    from accelerate.state import AcceleratorState

    if layout().startswith("zero"):
        _check_deepspeed()
    _join(on_cores=not (host.gpus and torch.cuda.is_available()))
    try:
        with _loading():
            yield
    except RuntimeError as error:
        if not any(words in str(error) for words in _ENDED):
            raise
        raise OtherEnded(
            "another process of this training ended",
            found=str(error).splitlines()[0],
            hint="its own message says why; the same command goes on from the last checkpoint",
        ) from error
    finally:
        # It holds what the numbers of this training filled in for DeepSpeed's "auto"; those of the next are others.
        AcceleratorState._reset_state()


def _join(on_cores: bool) -> None:
    from accelerate import DistributedType, PartialState

    if not on_cores:
        # Left alone torch gives NCCL ten minutes, and the others wait while the first saves: 13B with its moments are
        # 160 GB. Told here, as the trainers find the processes joined and their own ddp_timeout comes too late.
        PartialState(timeout=_PATIENCE)
    elif layout() == "whole":
        PartialState(cpu=True)
    else:
        # Told of cores, accelerate looks for no way to cut weights, though all of them work there.
        os.environ.pop("ACCELERATE_USE_CPU", None)
        state = PartialState(backend="gloo")
        if layout() == "fsdp2" and state.distributed_type in (DistributedType.NO, DistributedType.FSDP):
            PartialState._shared_state["distributed_type"] = DistributedType.MULTI_GPU


@contextmanager
def _loading() -> Iterator[None]:
    """Let transformers cut the weights while it loads them, where ZeRO-3 is told to: no process holds them whole."""
    if layout() != "zero-3" or not _told("ACCELERATE_DEEPSPEED_ZERO3_INIT"):
        yield
        return
    from transformers.integrations.deepspeed import HfDeepSpeedConfig, unset_hf_deepspeed_config

    configuration = _zero_configuration()
    for name in ("train_micro_batch_size_per_gpu", "train_batch_size", "gradient_accumulation_steps"):
        configuration.pop(name, None)  # "auto" says nothing before the trainer is made
    alive = HfDeepSpeedConfig({"train_micro_batch_size_per_gpu": 1, **configuration})
    try:
        yield
    finally:
        del alive
        unset_hf_deepspeed_config()


def _check_deepspeed() -> None:
    import importlib.util

    if importlib.util.find_spec("deepspeed") is None:
        raise Mistake("this layout needs deepspeed, which is not installed", hint="pip install 'metier[deepspeed]'")
    import deepspeed.ops  # type: ignore[import-untyped]

    # Between processes of one machine without GPUs it would compile a way of its own: minutes, and where that is killed
    # it leaves a lock on which every later run waits. torch's own does as well.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False


def agreed(*wishes: bool) -> tuple[bool, ...]:
    """Return for each wish whether any process has it."""
    if not _joined():
        return wishes
    told = torch.tensor([float(wish) for wish in wishes])
    told = _on_its_device(told)
    torch.distributed.all_reduce(told, op=torch.distributed.ReduceOp.MAX)
    return tuple(value > 0 for value in told.tolist())


def from_first(work: Callable[[], Value]) -> Value:
    """Do `work` on the first process alone, and return on all what it returned there, or raise what it raised."""
    if not _joined():
        return work()
    told: list[Any] = [None, None]
    if Processes.here().first:
        try:
            told[0] = work()
        except Exception as error:
            told[1] = error
    torch.distributed.broadcast_object_list(told, src=0)
    if told[1] is not None:
        raise told[1]
    found: Value = told[0]
    return found


def of_first(value: Value) -> Value:
    """Return on all processes what the first one gives."""
    return from_first(lambda: value)


def of_all(value: Value) -> list[Value]:
    """Return what each process gives, in their order, on all of them."""
    if not _joined():
        return [value]
    told: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(told, value)
    return told


def added_up(sums: Mapping[str, Sequence[float]]) -> dict[str, list[float]]:
    """Return the sums of all processes by name, added up place by place; a process need not have every name."""
    found: dict[str, list[float]] = {}
    for name, values in (item for one in of_all(dict(sums)) for item in one.items()):
        found[name] = [a + b for a, b in zip(found[name], values, strict=True)] if name in found else list(values)
    return found


def barrier() -> None:
    """Wait for the other processes of the training."""
    if _joined():
        torch.distributed.barrier()


def _joined() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def _on_its_device(value: torch.Tensor) -> torch.Tensor:
    return value.cuda() if torch.distributed.get_backend() == "nccl" else value


def dealt(windows: int, accumulate: int, processes: int | None = None) -> list[int | None] | None:
    """Return which window each forward pass takes, so that every optimizer step has as many on every process.

    The trainers give pass i to process i modulo their number. Where a step's windows do not come out even, empty passes
    (None) make up for it at its end: the mean over the step's trained tokens stays what it is on one process.

    Args:
        windows: of the training. accumulate: of an optimizer step; the last may have fewer.
        processes: those that were started where it is not given.

    Returns: None where nothing has to be added.
    """
    processes = processes or Processes.here().total
    if processes == 1:
        return None
    order: list[int | None] = []
    for start in range(0, windows, accumulate):
        step = range(start, min(start + accumulate, windows))
        order += [*step, *[None] * (-len(step) % processes)]
    return order


def threads(host: Host) -> int:
    """Return how many threads each process takes, so that those of one machine do not stand in each other's way."""
    local = os.environ.get("LOCAL_WORLD_SIZE", "1")
    return max(1, host.threads // (int(local) if local.isdigit() else 1))
