"""`metier plan --model`: one training on this machine or on a described one."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from metier.train.plan import Plan

F = TypeVar("F", bound=Callable[..., Any])

_METHODS = ("auto", "full", "freeze", "lora", "qlora")
_PRECISIONS = ("mixed", "bf16", "fp16", "fp32")
_OPTIMIZERS = ("adamw", "adamw_8bit", "paged_adamw_8bit", "adafactor", "lion", "sgd")
_OPTIONS = (
    click.option(
        "--model", metavar="FOLDER|SHAPE", help="Plan a training of this model: a folder, 7B, 8B-llama, 405B."
    ),
    click.option("--host", metavar="HOST", help="8xA100-80G, 64x8xH100-80G, cpu:2x24G. [default: this machine]"),
    click.option("--method", type=click.Choice(_METHODS), help="[default: auto: the ladder]"),
    click.option(
        "--ladder",
        type=click.Choice(["down", "up"]),
        help="down: all weights, else LoRA, else QLoRA; up: the cheapest first. [default: down]",
    ),
    click.option("--length", type=click.IntRange(16), help="Tokens of a row. [default: 2048]"),
    click.option("--batch", type=click.IntRange(1), help="Rows of an optimizer step. [default: 16, or two a device]"),
    click.option("--tokens", type=click.IntRange(1), help="Tokens to train on, for the time."),
    click.option("--precision", type=click.Choice(_PRECISIONS), help="[default: mixed]"),
    click.option("--optimizer", type=click.Choice(_OPTIMIZERS), help="[default: adamw]"),
    click.option("--rank", type=click.IntRange(1), help="Rank of LoRA. [default: 16]"),
    click.option(
        "--write",
        type=click.Path(path_type=Path, file_okay=False),
        metavar="FOLDER",
        help="Write accelerate's and DeepSpeed's configuration and the scripts for torchrun, Slurm and Ray.",
    ),
)
NAMES = ("model", "host", "method", "ladder", "length", "batch", "tokens", "precision", "optimizer", "rank", "write")


def training_options(function: F) -> F:
    """Add --model and the options that go with it."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def planned_training(given: Mapping[str, Any], as_json: bool, targets: bool) -> bool:
    """Plan and print the training that `given` asks for; False where no --model was given.

    Exit code 2 where nothing fits.

    Raises:
        Mistake: options do not go together, the model or the host is not known.
    """
    from metier.core.errors import Mistake

    told = {name: value for name, value in given.items() if value is not None}
    if "model" not in told:
        if told:
            raise Mistake(
                f"--{next(iter(told))} says something about one training, and no --model was given",
                hint="metier plan --model 8B --host 8xA100-80G",
            )
        return False
    if targets:
        raise Mistake("--model plans one training, not targets of a recipe", hint="leave out one of them")
    if told.get("method", "auto") != "auto" and "ladder" in told:
        raise Mistake("--ladder chooses the method, and --method was given", hint="leave out one of them")
    plan = _plan(told)
    written = _written(plan, told.get("write"))
    if as_json:
        _print_json(plan, written)
    else:
        _print(plan, written)
    if not plan.fits:
        sys.exit(2)
    return True


def _plan(told: Mapping[str, Any]) -> Plan:
    from metier.core.host import Host
    from metier.train.plan import Job, find_shape, machine_of, plan_for

    machine = machine_of(told["host"] if "host" in told else Host.here())
    method = told.get("method", "auto")
    names = {"length": "sequence_length", "tokens": "tokens", "precision": "precision", "optimizer": "optimizer"}
    more = {name: told[option] for option, name in (names | {"rank": "rank"}).items() if option in told}
    rows = told.get("batch", max(2, -(-16 // machine.all_devices)) * machine.all_devices)
    job = Job(find_shape(told["model"]), "full" if method == "auto" else method, rows=rows, **more)
    return plan_for(job, machine, ladder=told.get("ladder", "down") if method == "auto" else None)


def _written(plan: Plan, folder: Path | None) -> list[Path]:
    from metier.core.errors import Mistake
    from metier.train.plan.write import write_plan

    if folder is None:
        return []
    if not plan.fits:
        raise Mistake("there is no plan to write", found=plan.reason, hint="look at the table, without --write")
    return write_plan(plan, folder)


def _print_json(plan: Plan, written: list[Path]) -> None:
    from metier.train.plan import as_dict, step_fields

    answer = {
        "model": plan.job.shape._asdict() | {"parameters": plan.job.shape.parameters},
        "host": plan.machine._asdict(),
        "chosen": as_dict(plan),
        "fields": step_fields(plan),
        "alternatives": [as_dict(alternative) for alternative in plan.alternatives],
        "files": [str(path) for path in written],
    }
    click.echo(json.dumps(answer, indent=2))


def _print(plan: Plan, written: list[Path]) -> None:
    from metier.train.plan import explain

    click.echo(explain(plan))
    for path in written:
        click.echo(f"written: {path}")
